// Sums over the lanes of a warp, in an order that never changes. All 32 lanes call them together.
#pragma once

#include "kernels/common/cuda.cuh"

namespace midfill {

// The sum of x, float or double, over the lanes, the same bits in each.
template <typename T>
__device__ __forceinline__ T warp_sum(T x) {
  SIMT_UNROLL
  for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(0xffffffffu, x, bits);
  return x;
}

// kCount sums at once, kCount a power of two up to 32; lane l returns that of value
// l / (32 / kCount). Each exchange halves the values that a lane still adds up, so 8 sums take 9
// shuffles and not 40. `values` are used up.
template <int kCount>
__device__ __forceinline__ float warp_sums(float (&values)[kCount]) {
  const int lane = threadIdx.x % 32;
  int bits = 16;
  SIMT_UNROLL
  for (int left = kCount / 2; left > 0; left /= 2) {
    const bool upper = (lane & bits) != 0;
    SIMT_UNROLL
    for (int i = 0; i < left; ++i) {
      const float kept = upper ? values[i + left] : values[i];
      const float sent = upper ? values[i] : values[i + left];
      values[i] = kept + __shfl_xor_sync(0xffffffffu, sent, bits);
    }
    bits /= 2;
  }
  float sum = values[0];
  SIMT_UNROLL
  for (int rest = 16 / kCount; rest > 0; rest /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, rest);
  return sum;
}

}  // namespace midfill
