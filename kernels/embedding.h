#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// y[n] = table[ids[n]].
// shapes   y (N,C)   ids (N)   table (V,C)
// dtypes   ids i32, the rest f32
// layout   contiguous
// writes   y overwritten; must not overlap table
// errors   an id outside [0,V) throws before anything is written and names the row
// numerics exact copy
// cost     reads and writes N*C elements; memory bound
struct EmbeddingForward {
  Tensor y;           // out
  Tensor ids, table;  // in
  void check() const;
  void run(Cpu& cpu) const;
};

// dtable[ids[n]] += dy[n].
// shapes   dtable (V,C)   dy (N,C)   ids (N)
// dtypes   ids i32, the rest f32
// writes   dtable added to
// errors   an id outside [0,V) throws before anything is written and names the row
// numerics rows of one id are summed in ascending n: bit-identical whatever the thread count
// accuracy vs double: 1e-6 relative to the sum of magnitudes
// cost     reads N*C, reads and writes at most N*C elements; memory bound
struct EmbeddingBackward {
  Tensor dtable;   // in, out
  Tensor dy, ids;  // in
  void check() const;
  void run(Cpu& cpu) const;
};

}  // namespace midfill
