#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// tanh: 0.5 h (1 + tanh(sqrt(2/pi) (h + 0.044715 h^3)))    erf: 0.5 h (1 + erf(h / sqrt(2)))
enum class Gelu { tanh, erf };

// y = gelu(x + bias): the bias of the linear layer before it is added here, where x is read anyway.
// shapes   y, x (N,F)   bias (F); F a multiple of 8 on cuda
// dtypes   all f32; on cuda all f32 or all bf16, computed in f32
// writes   y overwritten; must not overlap x (backward reads x)
// numerics element-wise, so bit-identical always; NaN in, NaN out; +-inf as the limit
// accuracy vs double: 1e-6 absolute + 1e-6 relative; bf16: twice the error of rounding
// cost     reads and writes N*F elements; memory bound on a GPU, arithmetic bound on a CPU
// source   Hendrycks, Gimpel, "Gaussian error linear units", 2016
struct GeluForward {
  Tensor y;        // out
  Tensor x, bias;  // in; bias optional
  Gelu kind = Gelu::tanh;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// dx = dy * gelu'(x + bias);  dbias += sum over rows of dx. bias and dbias go together.
// shapes   dx, dy, x (N,F)   bias, dbias (F); F a multiple of 8 on cuda
// dtypes   all f32; on cuda dx, dy, x, bias all f32 or all bf16, dbias f32, computed in f32
// writes   dx overwritten, may be the same tensor as dy; dbias added to
// numerics dx element-wise, dbias in blocks of rows of a fixed size (on cuda of dx before it is
//          rounded): bit-identical whatever the thread count or GPU; NaN in, NaN out; the
//          derivative at +-inf as the limit
// accuracy vs double, per |dy|: 2e-6 absolute + 2e-6 relative (dx), and its sum (dbias);
//          bf16: twice the error of rounding
// cost     reads 2*N*F, writes N*F elements
struct GeluBackward {
  Tensor dx, dbias;    // out; in, out (optional, goes with bias)
  Tensor dy, x, bias;  // in; bias optional
  Gelu kind = Gelu::tanh;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
