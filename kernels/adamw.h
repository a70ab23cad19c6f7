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

// One AdamW update of all parameters, over the flat arenas.
//   g = grad_scale * grads;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   mhat = m / (1 - beta1^step);  vhat = v / (1 - beta2^step)
//   params = params - lr * (weight_decay * params + mhat / (sqrt(vhat) + eps))
// shapes   params, m, v, grads (n); `decay` covers disjoint ascending spans, elements outside them
//          do not change
// dtypes   f32
// writes   params, m, v updated in place; grads only read; no two may overlap
// numerics bias corrections in double; element-wise, so bit-identical always; NaN in, NaN out
// accuracy vs double: half an ulp of the parameter + 1e-6 * lr a step
// cost     reads 4*n, writes 3*n elements; memory bound
// source   Loshchilov, Hutter, "Decoupled weight decay regularization", 2019
struct AdamW {
  Tensor params, m, v;               // in, out
  Tensor grads;                      // in
  std::span<const DecaySpan> decay;  // in
  float lr = 0.0f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  float grad_scale = 1.0f;  // 1 / tokens, times the clip factor
  int64_t step = 1;         // counts from 1
  void check() const;
  void run(Cpu& cpu) const;
};

}  // namespace midfill
