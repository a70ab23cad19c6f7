// Sums over the rows of a matrix on the device `cuda`, for gradients of biases and scales: the twin
// of column_sums.h. Rows are summed in blocks into rows of partial sums in the workspace, then the
// blocks in an order that follows from their number alone: repeatable bits, no atomics.
//
// A kernel that reads the matrix anyway makes the partial sums on the way, in the walk below or in
// its own; add_column_sums finishes. add_columns is both steps for a matrix that nobody else reads.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/launch.h"
#include "kernels/common/vector8.cuh"

namespace midfill {

// out[c] += sum over b of partials[b * columns + c], in f64. All in device memory; any number of
// columns.
void add_column_sums(Cuda& cuda, const float* partials, int64_t blocks, int64_t columns,
                     float* out);

// The same for up to kMaxSums outputs in one launch; the partial rows of outs[i] are the i-th of
// the (blocks, columns) matrices that lie one behind the other at `partials`.
inline constexpr int kMaxSums = 5;
void add_column_sums(Cuda& cuda, const float* partials, int64_t blocks, int64_t columns,
                     std::span<float* const> outs);

// out[c] += sum over r of x[r * columns + c], T float or __nv_bfloat16; columns a multiple of 8.
// `partials` is scratch for ColumnWalk(rows, columns).partials() floats.
template <typename T>
void add_columns(Cuda& cuda, const T* x, int64_t rows, int64_t columns, float* partials,
                 float* out);

// How blocks of threads walk over a (rows, columns) matrix, columns a multiple of 8, to make
// partial sums: each takes a tile of 64 rows and 256 columns, a warp every eighth row of it, a lane
// eight neighbouring columns.
struct ColumnWalk {
  static constexpr int kThreads = 256, kWarps = kThreads / 32;
  static constexpr int kRows = 64, kColumns = 8 * 32;

  int64_t rows, columns;

  __host__ __device__ unsigned tiles() const {
    return static_cast<unsigned>((columns + kColumns - 1) / kColumns);
  }
  __host__ __device__ int64_t blocks() const { return (rows + kRows - 1) / kRows; }
  int64_t partials() const { return blocks() * columns; }
  // Neighbouring blocks of the grid take neighbouring tiles of the same rows.
  unsigned grid() const { return static_cast<unsigned>(tiles() * blocks()); }

  // Of the running thread:
  __device__ int64_t block() const { return blockIdx.x / tiles(); }
  __device__ int64_t column() const {
    return int64_t{blockIdx.x % tiles()} * kColumns + threadIdx.x % 32 * 8;
  }
  __device__ bool has_columns() const { return column() < columns; }

  // Calls body(row) for each row of the thread, in ascending order.
  template <typename Body>
  __device__ void for_each_row(const Body& body) const {
    const int64_t first = block() * kRows + threadIdx.x / 32;
    SIMT_UNROLL
    for (int i = 0; i < kRows / kWarps; ++i) {
      const int64_t row = first + i * kWarps;
      if (row < rows) body(row);
    }
  }

  // partials[block][column + i] = sum over the warps, in ascending order, of the thread's sums[i].
  // Once a kernel, by every thread of the block, with zeros where it has no columns.
  __device__ void store(const float (&sums)[8], float* partials) const {
    // Column 8 lane + i stands at i * kStride + lane: 32 lanes write, and 32 neighbouring columns
    // are read, without bank conflicts.
    constexpr int kStride = 36;
    SIMT_SHARED(float, tile, [kWarps][8 * kStride]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) tile[warp][i * kStride + lane] = sums[i];
    __syncthreads();
    const int64_t to = int64_t{blockIdx.x % tiles()} * kColumns + threadIdx.x;
    if (to >= columns) return;
    const int from = threadIdx.x % 8 * kStride + threadIdx.x / 8;
    float sum = tile[0][from];
    SIMT_UNROLL
    for (int w = 1; w < kWarps; ++w) sum += tile[w][from];
    partials[block() * columns + to] = sum;
  }
};

}  // namespace midfill
