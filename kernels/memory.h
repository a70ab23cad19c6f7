#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y = value, every element. f32. y overwritten.
struct Fill {
  Tensor y;  // out
  float value = 0.0f;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// y = x, same dtype and shape, any dtype. y overwritten; must not overlap x.
struct Copy {
  Tensor y;  // out
  Tensor x;  // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// y = x, one of them f32 and the other bf16, same shape; to bf16 rounded to nearest even, any NaN
// to a NaN. y overwritten; must not overlap x. On cuda both begin at a multiple of 16 bytes.
struct Cast {
  Tensor y;  // out
  Tensor x;  // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
