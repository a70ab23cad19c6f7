#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y = x w^T + bias + residual. The residual add of a block is folded in here (GEMM with beta = 1),
// so that it costs no pass of its own.
// shapes   y, residual (N,O)   x (N,I)   w (O,I)   bias (O)
// dtypes   f32
// layout   contiguous
// writes   y overwritten; may be the same tensor as residual; must not overlap x or w
// numerics GEMM by OpenBLAS; bit-identical at a given thread count on a given machine
// accuracy vs double: 2e-6 * (|x| |w|^T + |bias| + |residual|) per element
// cost     2*N*I*O FLOP; compute bound, at N = 1 memory bound
struct LinearForward {
  Tensor y;               // out
  Tensor x, w;            // in
  Tensor bias, residual;  // in, each optional
  void check() const;
  void run(Cpu& cpu) const;
};

// dx = dy w;  dw += dy^T x;  dbias += sum over rows of dy.
// shapes   dx, x (N,I)   dy (N,O)   dw, w (O,I)   dbias (O)
// dtypes   f32
// writes   dx overwritten, must not overlap the others; dw, dbias added to. dx (with w) and dbias
//          are optional.
// numerics GEMM by OpenBLAS; bit-identical at a given thread count on a given machine
// accuracy vs double: 2e-6 of the sum of magnitudes per element
// cost     4*N*I*O FLOP (2*N*I*O without dx); compute bound
struct LinearBackward {
  Tensor dx, dw, dbias;  // out; in, out
  Tensor dy, x, w;       // in
  void check() const;
  void run(Cpu& cpu) const;
};

}  // namespace midfill
