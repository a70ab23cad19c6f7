# `cmake --install build/cuda --prefix DIR` makes a tree that runs on another x86-64 Linux machine with an NVIDIA driver and
# cuBLAS: programs in bin, the libraries of the distribution that they need in lib, configs and scripts beside them. The
# C and C++ runtimes, the driver and cuBLAS are taken from that machine.
#
# DT_RPATH, not DT_RUNPATH: it holds for the libraries' own libraries too.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
add_link_options(-Wl,--disable-new-dtags)

# midfill_install(<target>...): programs of the tree. Libraries that they need are found when it is installed.
function(midfill_install)
  install(TARGETS ${ARGN} RUNTIME_DEPENDENCY_SET midfill_libraries RUNTIME DESTINATION bin)
endfunction()

# To be called once, after all programs.
function(midfill_install_tree)
  install(RUNTIME_DEPENDENCY_SET midfill_libraries
          PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|gcc_s|stdc\\+\\+)\\.so" "^lib(cuda|cublas|nccl|nv)"
          LIBRARY DESTINATION lib)
  install(DIRECTORY configs DESTINATION .)
  install(PROGRAMS scripts/bench_torch.py scripts/gpu_check.sh DESTINATION scripts)
  install(FILES LICENSE README.md DESTINATION .)
endfunction()
