#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// out = sum of x^2.
// shapes   out (1)   x any
// dtypes   out f64, x f32
// writes   out overwritten
// numerics blocks of 4096 elements summed in f64, then in ascending order: bit-identical whatever
//          the thread count; NaN or inf in x gives a non-finite out
// accuracy vs double: 1e-12 relative
// cost     reads n elements; memory bound
struct SquaredNorm {
  Tensor out;  // out
  Tensor x;    // in
  void check() const;
  void run(Cpu& cpu) const;
};

}  // namespace midfill
