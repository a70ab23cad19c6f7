#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y[n] = table[ids[n]].
// shapes   y (N,C)   ids (N)   table (V,C); C a multiple of 8 on cuda
// dtypes   ids i32, the rest f32; on cuda y and table both f32 or both bf16
// layout   contiguous
// writes   y overwritten; must not overlap table
// errors   an id outside [0,V): on the CPU it throws before anything is written and names the row,
//          on cuda its row of y becomes NaN
// numerics exact copy
// cost     reads and writes N*C elements; memory bound
struct EmbeddingForward {
  Tensor y;           // out
  Tensor ids, table;  // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// dtable[ids[n]] += dy[n].
// shapes   dtable (V,C)   dy (N,C)   ids (N); C a multiple of 8 on cuda
// dtypes   ids i32, the rest f32; on cuda dy f32 or bf16
// writes   dtable added to
// errors   an id outside [0,V): on the CPU it throws before anything is written and names the row,
//          on cuda its row of dy is left out
// numerics rows of one id are summed in ascending n (on cuda in pieces of a fixed size, these in
//          ascending order): bit-identical whatever the thread count or GPU
// accuracy vs double: 1e-6 relative to the sum of magnitudes
// cost     reads N*C, reads and writes at most N*C elements; memory bound. On cuda the ids are
//          sorted first, and a run of one id, however long, is many warps' work
struct EmbeddingBackward {
  Tensor dtable;   // in, out
  Tensor dy, ids;  // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
