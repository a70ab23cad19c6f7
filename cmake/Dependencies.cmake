# Every dependency comes from the distribution, each for one job; scripts/install_deps.sh installs them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)            # messages, until the distribution's compiler has std::format
find_package(nlohmann_json REQUIRED)  # configuration and headers
find_package(CLI11 REQUIRED)          # command line
find_package(simdjson REQUIRED)       # JSONL
find_package(Protobuf REQUIRED)       # TensorBoard events
find_package(ZLIB REQUIRED)           # .gz
find_package(LibLZMA REQUIRED)        # .xz
find_package(BZip2 REQUIRED)          # .bz2
find_package(PkgConfig REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

# fp32 GEMM: the single-threaded build of OpenBLAS, called from our threads (kernels/linear.cpp).
find_path(OPENBLAS_SERIAL_INCLUDE_DIR cblas.h
          PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-serial openblas REQUIRED)
find_library(OPENBLAS_SERIAL_LIBRARY openblas
             PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-serial openblas-serial REQUIRED)
add_library(openblas INTERFACE)
target_include_directories(openblas SYSTEM INTERFACE ${OPENBLAS_SERIAL_INCLUDE_DIR})
target_link_libraries(openblas INTERFACE ${OPENBLAS_SERIAL_LIBRARY})
