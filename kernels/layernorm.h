#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y = (x - mean) * rstd * gamma + beta, per row;
// rstd = 1 / sqrt(var + eps), var the biased variance.
// shapes   x, y (N,C)   mean, rstd (N)   gamma, beta (C)
// dtypes   f32
// layout   contiguous, any C >= 1
// writes   y, mean, rstd overwritten; y must not overlap x (backward reads x)
// numerics two-pass variance; a row is one thread's: bit-identical always; NaN in, NaN out
// accuracy vs double: 2e-6 of the row's scale, max |x| * rstd * |gamma| + |beta|
// cost     reads N*C, writes N*C elements; memory bound
// source   Ba, Kiros, Hinton, "Layer normalization", 2016
struct LayerNormForward {
  Tensor y, mean, rstd;   // out
  Tensor x, gamma, beta;  // in
  float eps = 1e-5f;
  void check() const;
  void run(Cpu& cpu) const;
};

// dx = residual + the gradient through the normalisation. `residual` (optional) is the gradient
// that reaches x past the norm, so that the add of a residual branch costs no pass of its own.
//   xhat = (x - mean) * rstd;  g = dy * gamma
//   dx = residual + rstd * (g - mean(g) - xhat * mean(g * xhat))
//   dgamma += sum over rows of dy * xhat;  dbeta += sum over rows of dy
// shapes   dx, dy, x, residual (N,C)   mean, rstd (N)   dgamma, dbeta, gamma (C)
// dtypes   f32
// writes   dx overwritten, may be the same tensor as dy or residual; dgamma, dbeta added to
// numerics a row is one thread's, dgamma and dbeta are summed in blocks of rows of a fixed size:
//          bit-identical whatever the thread count; NaN in, NaN out
// accuracy vs double: 5e-6 of the row's scale (dx), of the sum of magnitudes (dgamma, dbeta)
// cost     reads 4*N*C (3*N*C without residual), writes N*C elements; memory bound
struct LayerNormBackward {
  Tensor dx, dgamma, dbeta;         // out; in, out
  Tensor dy, x, mean, rstd, gamma;  // in
  Tensor residual;                  // in, optional
  void check() const;
  void run(Cpu& cpu) const;
};

}  // namespace midfill
