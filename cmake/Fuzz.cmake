# Preset `fuzz`: all code is built to be fuzzed, with the checks that make a wrong access, an undefined operation or a range
# error of the standard library end the program.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "MIDFILL_FUZZ is ON, but the compiler is ${CMAKE_CXX_COMPILER_ID}, expected clang++, which has libFuzzer")
endif()
set(MIDFILL_SANITIZERS address,undefined,float-cast-overflow)
add_compile_options(-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,${MIDFILL_SANITIZERS}
                    -fno-sanitize-recover=all)
add_compile_definitions(_GLIBCXX_ASSERTIONS)
add_link_options(-fsanitize=${MIDFILL_SANITIZERS})
