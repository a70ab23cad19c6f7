// A cuBLASLt on the CPU, just large enough for kernels/common/gemm_cublaslt.cpp: it multiplies
// matrices by columns as the library's manual says, refuses what the manual forbids, and lets a
// test decide which candidates there are and how long each takes. With it come the few functions
// of the CUDA runtime that the file calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace midfill::test {

struct FakeCublasLt {
  // Of each candidate of the heuristic, best first. Below 0: cublasLtMatmul refuses it.
  std::vector<float> candidate_ms = {1.0f, 0.5f, 0.75f};
  bool capturing = false, memory_full = false;

  int heuristic_calls = 0;
  std::vector<int> multiplied;  // the candidate of each product, in order
  // What the last search asked for.
  uint64_t workspace_bytes = 0;
  uint32_t reduction_schemes = 0;
  uint32_t alignments[4] = {};  // of A, B, C, D
};

FakeCublasLt& fake_cublaslt();

}  // namespace midfill::test
