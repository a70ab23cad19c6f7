#pragma once

#include <cstdint>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// Softmax cross-entropy over the first `vocab` of Vp columns; the padded rest is masked out of the
// softmax, whatever it holds.
//   loss[n]      = log sum_{v < vocab} exp(logits[n,v]) - logits[n,targets[n]]
//   dlogits[n,v] = weights[n] * (softmax(logits[n])[v] - [v == targets[n]])   for v < vocab,
//                  0 in padded columns
// shapes   loss, targets, weights (N)   logits, dlogits (N,Vp), 1 <= vocab <= Vp   nonfinite (1)
// dtypes   targets, nonfinite i32; loss, weights f32; logits, dlogits f32, on cuda also both bf16,
//          or dlogits bf16 of logits in f32
// layout   contiguous; any Vp, on cuda a multiple of 8
// writes   loss overwritten (not weighted; 0 where the weight is 0); dlogits (optional)
//          overwritten, may be the same tensor as logits. Without dlogits the logits are only read.
//          nonfinite (optional) set to 1 where a loss of a weight other than 0 is not finite, else
//          left alone
// errors   a target outside [0,vocab) with a weight other than 0: on the CPU it throws before
//          anything is written and names the row; on cuda, which cannot, the row's loss and its
//          dlogits below vocab are NaN
// numerics maximum subtracted; CPU: sums in f32 over 1024 columns and f64 across; cuda: f32, of 8
//          columns, of a thread's, of a warp's, of the block's in turn; a row is one thread's or
//          one block's: bit-identical always; NaN or +inf among the logits gives a NaN loss. A row
//          of weight 0 gets dlogits of exactly 0.
// accuracy vs double: loss 2e-6 absolute + relative, dlogits 1e-6 * weight absolute; bf16: twice
//          the error of rounding
// cost     reads 2*N*Vp (on cuda the second time mostly from L2), writes N*Vp elements; memory
//          bound on a GPU, arithmetic bound on a CPU
struct CrossEntropy {
  Tensor loss;                      // out
  Tensor dlogits;                   // out, optional
  Tensor nonfinite = {};            // in, out, optional
  Tensor logits, targets, weights;  // in
  int64_t vocab = 0;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
