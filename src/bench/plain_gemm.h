// A matrix product by the library alone, as a program would call it that takes its first offer:
// what the linear layers are held against. OpenBLAS on one thread on the CPU, cuBLASLt on a GPU.
#pragma once

#include <functional>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// c (m,n) = op(a) op(b) + beta * c; op(a) (m,k), op(b) (k,n); a matrix is transposed where the flag
// says so. a, b f32 or bf16, c either; sums in f32. On the CPU all f32.
struct PlainGemm {
  Tensor c;     // in, out
  Tensor a, b;  // in
  bool transpose_a = false, transpose_b = false;
  float beta = 0.0f;
};

// Calls that multiply, with everything that can be prepared prepared. Empty where there is nothing
// to compare with: on several threads of a CPU, on the emulation.
std::function<void()> plain_gemm(Device& device, const PlainGemm& gemm);

}  // namespace midfill
