// Products on the emulated device: the operands in f32, OpenBLAS, add and bias in f32, then one
// rounding.
#include <cblas.h>

#include <algorithm>
#include <vector>

#include "kernels/common/gemm.h"

namespace midfill {

namespace {

// The elements in f32: the tensor's own, or converted into `memory`.
const float* floats_of(const Tensor& t, std::vector<float>& memory) {
  if (t.dtype() == DType::f32) return t.as<float>();
  const Bf16* values = t.as<Bf16>();
  memory.resize(static_cast<size_t>(t.numel()));
  std::transform(values, values + t.numel(), memory.begin(),
                 [](Bf16 value) { return static_cast<float>(value); });
  return memory.data();
}

}  // namespace

void Gemm::run(Cuda&) const {
  check();
  std::vector<float> a_memory, b_memory, add_memory, bias_memory;
  std::vector<float> product(static_cast<size_t>(m() * n()));
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
              transpose_b ? CblasTrans : CblasNoTrans, static_cast<int>(m()), static_cast<int>(n()),
              static_cast<int>(k()), 1.0f, floats_of(a, a_memory), static_cast<int>(a.dim(1)),
              floats_of(b, b_memory), static_cast<int>(b.dim(1)), 0.0f, product.data(),
              static_cast<int>(n()));
  const float* adds = add ? floats_of(add, add_memory) : nullptr;
  const float* biases = bias ? floats_of(bias, bias_memory) : nullptr;
  for (int64_t row = 0; row < m(); ++row) {
    for (int64_t column = 0; column < n(); ++column) {
      const int64_t i = row * n() + column;
      float value = product[static_cast<size_t>(i)];
      if (adds) value += adds[i];
      if (biases) value += biases[column];
      if (d.dtype() == DType::f32)
        d.as<float>()[i] = value;
      else
        d.as<Bf16>()[i] = Bf16(value);
    }
  }
}

GemmPlan gemm_plan(Cuda&, const Gemm&) {
  return {};
}

}  // namespace midfill
