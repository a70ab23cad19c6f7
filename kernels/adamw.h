#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// Elements [begin, end) of the parameter arena that share a weight decay.
struct DecaySpan {
  int64_t begin = 0, end = 0;
  float weight_decay = 0.0f;
};

// One AdamW update of all parameters, over the flat arenas, clipped to a global norm.
//   norm = sqrt(sum_squares) / total_weight
// Where norm is not finite or `nonfinite` is not 0, nothing changes. Otherwise
//   updates = updates + 1;  step = updates
//   g = grads * min(1, clip / norm) / total_weight  (clip = 0: grads / total_weight)
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   mhat = m / (1 - beta1^step);  vhat = v / (1 - beta2^step)
//   params = params - lr * (weight_decay * params + mhat / (sqrt(vhat) + eps));  weights = params
// shapes   params, weights, m, v, grads (n); updates, sum_squares, nonfinite (1); `decay` covers
//          disjoint ascending spans, elements outside them do not change
// dtypes   weights bf16, sum_squares f64, updates and nonfinite i32, the rest f32
// layout   on cuda the arenas begin at a multiple of 16 bytes
// writes   params, m, v, updates updated in place, weights overwritten (all of them inside the
//          spans only); the rest only read; no two may overlap
// numerics norm, scale and bias corrections in double; element-wise, so bit-identical always; NaN
// in
//          grads beside a finite sum_squares gives NaN; weights rounded to nearest even
// accuracy vs double: half an ulp of the parameter + 1e-6 * lr a step
// cost     reads 4*n, writes 3*n (and n/2) elements; memory bound. On cuda the decision is taken on
//          the device, nothing waits for the host
// source   Loshchilov, Hutter, "Decoupled weight decay regularization", 2019
struct AdamW {
  Tensor params;              // in, out
  Tensor weights;             // out, optional: the copy of params that the model computes with
  Tensor m, v, updates;       // in, out
  Tensor grads, sum_squares;  // in; sum_squares is that of grads: SquaredNorm
  Tensor nonfinite;           // in, optional
  std::span<const DecaySpan> decay;  // in
  float lr = 0.0f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  double total_weight = 1.0;  // of the tokens that grads sums over
  double clip = 0.0;          // largest norm of the gradient; 0: any
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
