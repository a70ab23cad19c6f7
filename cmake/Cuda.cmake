# The CUDA side of the build: nvcc for the three architectures, with ptxas reporting the registers, spills and shared
# memory of every kernel (cmake/record_ptxas.sh keeps the reports; tests/cuda/budget_test.py compares them with
# kernels/budget.json).
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Ampere A100, Ada, Hopper; and PTX of the first, from which a driver makes code for newer devices.
  set(CMAKE_CUDA_ARCHITECTURES 80 89-real 90a-real)
endif()
# nvcc is looked for in CUDACXX and PATH, then where the toolkit's installer puts it.
find_program(MIDFILL_NVCC nvcc HINTS ENV CUDACXX PATHS /usr/local/cuda/bin)
if(NOT MIDFILL_NVCC)
  message(FATAL_ERROR "MIDFILL_CUDA is ON, but there is no nvcc: install the CUDA Toolkit (12 or later), or set CUDACXX")
endif()
set(CMAKE_CUDA_COMPILER ${MIDFILL_NVCC})
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "${MIDFILL_NVCC} is ${CMAKE_CUDA_COMPILER_VERSION}, expected 12 or later, for C++20")
endif()

find_package(CUDAToolkit REQUIRED)  # the runtime and cuBLASLt

# CMake 3.25 does not know that nvcc 12 and later take -std=c++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_SOURCE_DIR}/cmake/record_ptxas.sh ${CMAKE_CXX_COMPILER_LAUNCHER})

# Host code in .cu files gets the warnings of the .cpp files, less -Wpedantic and -Wshadow, which the output of nvcc and
# the headers of CUDA do not pass; g++ gives those when it compiles the same files for the emulation.
# fmt decides by __NVCC__ that constexpr is missing, and then does not compile as C++20.
add_compile_options(
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-march=${MIDFILL_ARCH},-Wall,-Wextra,-Werror,-fopenmp-simd>"
  "$<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings;-lineinfo;-Xptxas=-v;-Xptxas=-warn-spills>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-DFMT_USE_CONSTEXPR=1>")
