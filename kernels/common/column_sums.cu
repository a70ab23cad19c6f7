#include "kernels/common/column_sums.cuh"

#include <algorithm>

namespace midfill {

namespace {

constexpr int kLanes = 32, kGroups = 8;

struct Outs {
  float* to[kMaxSums];
};

// A block of threads has kLanes columns of the blockIdx.y-th matrix, and each of its warps every
// kGroups-th block of rows.
__global__ void __launch_bounds__(kLanes* kGroups)
    add_partials(const float* partials, int64_t blocks, int64_t columns,
                 const __grid_constant__ Outs outs) {
  SIMT_SHARED(double, sums, [kGroups][kLanes]);
  const int lane = threadIdx.x % kLanes, group = threadIdx.x / kLanes;
  const int64_t column = int64_t{blockIdx.x} * kLanes + lane;
  partials += blockIdx.y * blocks * columns;
  double sum = 0;
  if (column < columns)
    for (int64_t block = group; block < blocks; block += kGroups)
      sum += static_cast<double>(partials[block * columns + column]);
  sums[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= columns) return;
  SIMT_UNROLL
  for (int g = 1; g < kGroups; ++g) sum += sums[g][lane];
  outs.to[blockIdx.y][column] += static_cast<float>(sum);
}

template <typename T>
__global__ void __launch_bounds__(ColumnWalk::kThreads)
    sum_rows(const T* x, ColumnWalk walk, float* partials) {
  float sums[8] = {};
  if (walk.has_columns())
    walk.for_each_row([&](int64_t row) {
      float values[8];
      load8(values, x + row * walk.columns + walk.column());
      SIMT_UNROLL
      for (int i = 0; i < 8; ++i) sums[i] += values[i];
    });
  walk.store(sums, partials);
}

}  // namespace

void add_column_sums(Cuda& cuda, const float* partials, int64_t blocks, int64_t columns,
                     float* out) {
  add_column_sums(cuda, partials, blocks, columns, std::span<float* const>(&out, 1));
}

void add_column_sums(Cuda& cuda, const float* partials, int64_t blocks, int64_t columns,
                     std::span<float* const> outs) {
  Outs all{};
  std::copy(outs.begin(), outs.end(), all.to);
  launch<add_partials>(
      {.grid = dim3(blocks_of(columns, kLanes), static_cast<unsigned>(outs.size())),
       .block = kLanes * kGroups,
       .stream = stream_of(cuda)},
      partials, blocks, columns, all);
}

template <typename T>
void add_columns(Cuda& cuda, const T* x, int64_t rows, int64_t columns, float* partials,
                 float* out) {
  const ColumnWalk walk{rows, columns};
  launch<sum_rows<T>>(
      {.grid = walk.grid(), .block = ColumnWalk::kThreads, .stream = stream_of(cuda)}, x, walk,
      partials);
  add_column_sums(cuda, partials, walk.blocks(), columns, out);
}
template void add_columns(Cuda&, const float*, int64_t, int64_t, float*, float*);
template void add_columns(Cuda&, const __nv_bfloat16*, int64_t, int64_t, float*, float*);

}  // namespace midfill
