#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y = (x - mean) * rstd * gamma + beta, per row;
// rstd = 1 / sqrt(var + eps), var the biased variance.
// With y2, gamma2 and beta2 (optional, together) also y2 = (x - mean) * rstd * gamma2 + beta2: both
// norms of a block in the parallel form, with one reading of x.
// shapes   x, y, y2 (N,C)   mean, rstd (N)   gamma, beta, gamma2, beta2 (C)
// dtypes   mean, rstd f32; the rest f32, on cuda also all of them bf16
// layout   contiguous; any C >= 1, on cuda a multiple of 8
// writes   y, y2, mean, rstd overwritten; y, y2 must not overlap x (backward reads x)
// numerics two-pass variance in f32; a row is one thread's or one warp's: bit-identical always; NaN
//          in, NaN out
// accuracy vs double: 2e-6 of the row's scale, max |x| * rstd * |gamma| + |beta|; bf16: twice the
//          error of rounding
// cost     reads N*C, writes N*C elements (2*N*C with y2); memory bound
// source   Ba, Kiros, Hinton, "Layer normalization", 2016
struct LayerNormForward {
  Tensor y, mean, rstd;   // out
  Tensor x, gamma, beta;  // in
  Tensor y2 = {};         // out, optional
  Tensor gamma2 = {};     // in, with y2
  Tensor beta2 = {};      // in, with y2
  float eps = 1e-5f;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// dx = residual + the gradient through the normalisation. `residual` (optional) is the gradient
// that reaches x past the norm, so that the add of a residual branch costs no pass of its own.
//   xhat = (x - mean) * rstd;  g = dy * gamma
//   dx = residual + rstd * (g - mean(g) - xhat * mean(g * xhat))
//   dgamma += sum over rows of dy * xhat;  dbeta += sum over rows of dy
//   dbias (optional) += sum over rows of dx, before dx is rounded to its dtype: the gradient of the
//   bias of the linear layer whose dy this dx is
// With dy2, gamma2, dgamma2 and dbeta2 (optional, together), the gradient through both norms of
// LayerNormForward's y and y2 at once: g = dy * gamma + dy2 * gamma2, dgamma2 and dbeta2 from dy2.
// shapes   dx, dy, dy2, x, residual (N,C)   mean, rstd (N)   the rest (C)
// dtypes   dx, dy, dy2, x, residual, gamma, gamma2 f32, on cuda also all of them bf16;
//          mean, rstd and the sums over rows f32
// layout   contiguous; any C >= 1, on cuda a multiple of 8
// writes   dx overwritten, may be the same tensor as dy, dy2 or residual; the sums over rows are
//          added to
// numerics sums in f32; those over rows are made in blocks of rows, whose size follows from N and C
//          alone, and over the blocks in f64, in order: bit-identical whatever the thread or
//          multiprocessor count; NaN in, NaN out
// accuracy vs double: 5e-6 of the row's scale (dx), of the sum of magnitudes (sums over rows);
//          bf16: twice the error of rounding
// cost     reads 4*N*C (N*C less without residual, N*C more with dy2), writes N*C elements; memory
//          bound; on cuda rows of more than 4096 are read twice
struct LayerNormBackward {
  Tensor dx, dgamma, dbeta;          // out; in, out
  Tensor dbias = {};                 // in, out, optional
  Tensor dy, x, mean, rstd, gamma;   // in
  Tensor residual = {};              // in, optional
  Tensor dgamma2 = {}, dbeta2 = {};  // in, out, with dy2
  Tensor dy2 = {}, gamma2 = {};      // in, optional
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
