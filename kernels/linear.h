#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y = x w^T + bias + residual. The residual add of a block is folded in here (GEMM with beta = 1),
// so that it costs no pass of its own.
// shapes   y, residual (N,O)   x (N,I)   w (O,I)   bias (O); I and O multiples of 8 on cuda
// dtypes   f32; on cuda x and w both f32 or both bf16, y as x or f32, bias and residual as y
// layout   contiguous
// writes   y overwritten; may be the same tensor as residual; must not overlap x or w
// numerics CPU: GEMM by OpenBLAS; bit-identical at a given thread count on a given machine. cuda:
//          sums, bias and residual in f32, one rounding (kernels/common/gemm.h)
// accuracy vs double: 2e-6 * (|x| |w|^T + |bias| + |residual|) per element; bf16: twice the error
//          of rounding the operands
// cost     2*N*I*O FLOP; compute bound, at N = 1 memory bound
struct LinearForward {
  Tensor y;               // out
  Tensor x, w;            // in
  Tensor bias, residual;  // in, each optional
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// dx = dy w;  dw += dy^T x;  dbias += sum over rows of dy.
// shapes   dx, x (N,I)   dy (N,O)   dw, w (O,I)   dbias (O); I and O multiples of 8 on cuda
// dtypes   f32; on cuda dx, dy, x, w all f32 or all bf16. dw, dbias always f32
// writes   dx overwritten, must not overlap the others; dw, dbias added to. dx (with w) and dbias
//          are optional.
// numerics CPU: GEMM by OpenBLAS; bit-identical at a given thread count on a given machine. cuda:
//          sums in f32 (kernels/common/gemm.h); dbias in blocks of rows, the same on every GPU
// accuracy vs double: 2e-6 of the sum of magnitudes per element; bf16: twice the error of rounding
//          the operands
// cost     4*N*I*O FLOP (2*N*I*O without dx); compute bound
struct LinearBackward {
  Tensor dx, dw, dbias;  // out; in, out
  Tensor dy, x, w;       // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
