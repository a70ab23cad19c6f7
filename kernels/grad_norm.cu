#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/warp_sums.cuh"
#include "kernels/grad_norm.h"

namespace midfill {

namespace {

// Fixed, because the order of sums follows from them.
constexpr int kThreads = 256, kVectors = 16, kAddingThreads = 1024;
constexpr int64_t kBlock = int64_t{4} * kThreads * kVectors;  // elements

// The sum over the block of kSize threads: lanes by halves, then warps in ascending order.
template <int kSize>
__device__ double block_sum(double sum) {
  SIMT_SHARED(double, sums, [kSize / 32]);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = sums[0];
  SIMT_UNROLL
  for (int w = 1; w < kSize / 32; ++w) sum += sums[w];
  return sum;
}

__device__ __forceinline__ double square(float x) {
  return static_cast<double>(x) * static_cast<double>(x);
}

__global__ void __launch_bounds__(kThreads) sum_squares(const float* x, int64_t n, double* sums) {
  const int64_t first = int64_t{blockIdx.x} * kBlock + 4 * threadIdx.x;
  double sum = 0;
  SIMT_UNROLL
  for (int k = 0; k < kVectors; ++k) {
    const int64_t i = first + k * 4 * kThreads;
    if (i + 4 <= n) {
      const float4 v = *reinterpret_cast<const float4*>(x + i);
      sum += square(v.x) + square(v.y) + (square(v.z) + square(v.w));
    } else {
      for (int64_t j = i; j < n; ++j) sum += square(x[j]);
    }
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: a thread takes every kAddingThreads-th sum.
__global__ void __launch_bounds__(kAddingThreads)
    add_sums(const double* sums, int64_t n, double* out) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kAddingThreads) sum += sums[i];
  sum = block_sum<kAddingThreads>(sum);
  if (threadIdx.x == 0) *out = sum;
}

}  // namespace

void SquaredNorm::run(Cuda& cuda) const {
  require_aligned("SquaredNorm", "x", x);
  const int64_t n = x.numel();
  const unsigned blocks = blocks_of(n, kBlock);
  auto* sums = static_cast<double*>(cuda.workspace(blocks * sizeof(double)));
  launch<sum_squares>({.grid = blocks, .block = kThreads, .stream = stream_of(cuda)}, x.as<float>(),
                      n, sums);
  launch<add_sums>({.grid = 1, .block = kAddingThreads, .stream = stream_of(cuda)}, sums,
                   int64_t{blocks}, out.as<double>());
}

}  // namespace midfill
