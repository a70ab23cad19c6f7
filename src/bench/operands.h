// Operands of an op that is measured: memory of the device, filled with what training puts there.
#pragma once

#include <vector>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

class Operands {
 public:
  explicit Operands(Device& device) : device_(&device) {}

  Device& device() { return *device_; }

  // Contents undefined.
  Tensor empty(DType dtype, const std::vector<int64_t>& dims);
  // Zeros, f32: gradients of parameters, moments.
  Tensor zeros(const std::vector<int64_t>& dims);
  // scale * N(0, 1), f32 or bf16. Never zeros: a GPU multiplies those faster than data.
  Tensor normal(DType dtype, const std::vector<int64_t>& dims, double scale = 1.0);
  // (n) i32, uniform in [0, below).
  Tensor ids(int64_t n, int64_t below);
  // f32, every element.
  Tensor constant(const std::vector<int64_t>& dims, float value);

 private:
  Device* device_;
  std::vector<Buffer> memory_;
};

}  // namespace midfill
