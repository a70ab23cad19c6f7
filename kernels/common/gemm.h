// Matrix products on the device `cuda`: by cuBLASLt on a GPU (gemm_cublaslt.cpp), by OpenBLAS on
// the emulation (gemm_emulated.cpp). Ops call it; there is no other place that multiplies matrices.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/common/cuda_device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// d = op(a) op(b) + add + bias, bias on every row; op transposes where asked.
// shapes   d, add (m,n)   a (m,k), or (k,m) if transposed   b (k,n), or (n,k)   bias (n)
// dtypes   a, b: both f32 or both bf16. d: f32, or bf16 where a is. add, bias: that of d
// layout   contiguous, row-major. On a GPU addresses are multiples of 16 bytes
// writes   d overwritten; may be the same tensor as add, otherwise apart from every operand
// numerics sums in f32 (never TF32), partial sums included; d rounded once, after add and bias. add
//          and bias are there with beta = 1, not read where they are empty. A plan is a choice
//          among kernels that sum in different orders: it is the same for a shape as long as the
//          process lives, so a product repeats bit for bit; between processes see gemm_plan
// accuracy vs double: 2e-6 * (|a| |b| + |add| + |bias|), for d in bf16 half its last place more
// cost     2*m*n*k FLOP
struct Gemm {
  Tensor d;                    // out
  Tensor a, b;                 // in
  Tensor add = {}, bias = {};  // in, each optional
  bool transpose_a = false, transpose_b = false;

  int64_t m() const { return a.dim(transpose_a ? 1 : 0); }
  int64_t n() const { return b.dim(transpose_b ? 0 : 1); }
  int64_t k() const { return a.dim(transpose_a ? 0 : 1); }
  double flops() const {
    return 2.0 * static_cast<double>(m()) * static_cast<double>(n()) * static_cast<double>(k());
  }
  std::string text() const;  // "(4096, 2048) bf16 = (4096, 8192) (2048, 8192)^T + bias"

  void check() const;
  void run(Cuda& cuda) const;
};

// Device memory that the products of one Cuda take beside their operands, from the first on. While
// a plan is made, memory for one more `d` (where there is none, the plan is the first candidate).
inline constexpr size_t kGemmWorkspaceBytes = size_t{32} << 20;

// How many candidates a plan is chosen from. Each shape, dtype, transposition, epilogue and
// alignment has a plan, made when it is first multiplied: candidates are asked of cuBLASLt's
// heuristic and timed on the stream, with d in scratch memory; the fastest stays. That waits for
// the stream, so it belongs to the first step. While the stream is being captured, or with
// MIDFILL_GEMM_AUTOTUNE=0 in the environment, the plan is the first candidate: then results are the
// same in every process on the same GPU and release of cuBLASLt, at the price of a slower product
// where the heuristic errs.
inline constexpr int kGemmCandidates = 16;

// What was chosen for this product, for benchmarks; makes the plan where there is none yet.
struct GemmPlan {
  int candidates = 1;           // that were timed; 1 where nothing was
  int chosen = 0;               // the heuristic's place for it, from 0
  double ms = 0, first_ms = 0;  // of the chosen and of the heuristic's first; 0 where not timed
};
GemmPlan gemm_plan(Cuda& cuda, const Gemm& gemm);

}  // namespace midfill
