// Sums over the rows of a matrix, for gradients of biases and scales. Rows are summed in blocks of
// kSumRows, each block into a row of partial sums in the workspace, then the blocks in ascending
// order: the result does not depend on the thread count, and the rounding error grows with the
// block, not with N.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/parallel.h"

namespace midfill {

inline constexpr int64_t kSumRows = 64;

inline int64_t sum_blocks(int64_t rows) {
  return (rows + kSumRows - 1) / kSumRows;
}

// Runs body(block, begin, end) for every block of rows [begin, end), threads in parallel.
template <typename Body>
void for_each_sum_block(const Cpu& cpu, int64_t rows, const Body& body) {
  parallel_ranges(cpu, sum_blocks(rows), 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      body(block, block * kSumRows, std::min(rows, (block + 1) * kSumRows));
  });
}

// out[c] += sum over blocks of partials[block * columns + c].
inline void add_column_sums(const Cpu& cpu, const float* partials, int64_t blocks, int64_t columns,
                            float* out) {
  constexpr int64_t kTile = 64;
  parallel_ranges(cpu, columns, kTile, [&](int64_t begin, int64_t end) {
    for (int64_t c0 = begin; c0 < end; c0 += kTile) {
      const int64_t width = std::min(kTile, end - c0);
      double sums[kTile] = {};
      for (int64_t block = 0; block < blocks; ++block) {
        const float* row = partials + block * columns + c0;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) sums[c] += static_cast<double>(row[c]);
      }
      for (int64_t c = 0; c < width; ++c) out[c0 + c] += static_cast<float>(sums[c]);
    }
  });
}

}  // namespace midfill
