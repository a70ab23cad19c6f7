#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// out = sum of x^2.
// shapes   out (1)   x any; on cuda it begins at a multiple of 16 bytes
// dtypes   out f64, x f32
// writes   out overwritten
// numerics blocks of a fixed size summed in f64, then the blocks in a fixed order: bit-identical
//          whatever the thread count or GPU; NaN or inf in x gives a non-finite out
// accuracy vs double: 1e-12 relative
// cost     reads n elements; memory bound
struct SquaredNorm {
  Tensor out;  // out
  Tensor x;    // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
