// CUDA's names for a kernel file that g++ compiles: include this (under nvcc: CUDA's own headers)
// and nothing else of the emulation. The names are global, so only kernel files include it.
//
//   __global__ void scale(float* x, float by) {
//     SIMT_SHARED(float, row, [256]);                    // __shared__ float row[256];
//     float* rest = midfill::simt::dynamic_shared<float>();
//     ...
//   }
//   midfill::simt::launch(grid, block, shared_bytes, [&] { scale(x, 2.0f); });
#pragma once

#include <math.h>

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/simt/runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static const
#define __align__(n) __attribute__((aligned(n)))

// Before a loop; `#pragma unroll` under nvcc.
#define SIMT_UNROLL _Pragma("GCC unroll 64")
// A static shared variable at function scope: SIMT_SHARED(float, tile, [32][33]); a struct or a
// scalar has no dimensions: SIMT_SHARED(int, flag, ). One variable for each instance of a template.
#define SIMT_SHARED(type, name, dims) \
  using name##_shared = type dims;    \
  name##_shared& name = midfill::simt::shared_variable<name##_shared>([] {})

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = midfill::simt::kWarp;

namespace midfill::simt {

template <typename T, typename Place>
T& shared_variable(Place) {
  static const char key = 0;
  return *static_cast<T*>(static_shared(&key, sizeof(T), alignof(T)));
}
template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(dynamic_shared_bytes());
}

// --- Shuffles and votes

template <typename T>
struct Shuffle {
  T value, result;
  int from;  // lane to read
};
template <typename T>
void shuffle_lanes(Shuffle<T>* const* lanes, unsigned mask, const Site& site) {
  for (int i = 0; i < kWarp; ++i) {
    if (!lanes[i]) continue;
    if (!(mask >> lanes[i]->from & 1))
      stop("lane " + std::to_string(i) + " shuffles from lane " + std::to_string(lanes[i]->from) +
               ", which takes no part",
           site);
    lanes[i]->result = lanes[lanes[i]->from]->value;
  }
}
template <typename T>
T shuffle(unsigned mask, const char* what, T value, int from, Site site) {
  Shuffle<T> operands{value, value, from};
  warp_collective<shuffle_lanes<T>>(mask, what, operands, site);
  return operands.result;
}

struct Vote {
  bool vote;
  unsigned result;
};
inline void count_votes(Vote* const* lanes, unsigned, const Site&) {
  unsigned ballot = 0;
  for (int i = 0; i < kWarp; ++i)
    if (lanes[i] && lanes[i]->vote) ballot |= 1u << i;
  for (int i = 0; i < kWarp; ++i)
    if (lanes[i]) lanes[i]->result = ballot;
}
inline unsigned ballot(unsigned mask, const char* what, bool vote, Site site) {
  Vote operands{vote, 0};
  warp_collective<count_votes>(mask, what, operands, site);
  return operands.result;
}

// --- Atomics: fibers are never interrupted, so a plain update is atomic.
template <typename T, typename F>
__attribute__((no_sanitize("thread"), noinline)) T atomic_update(T* p, F update, Site site) {
  memory_access(lane(), p, sizeof(T), Access::atomic, site);
  const T old = *p;
  *p = update(old);
  return old;
}

}  // namespace midfill::simt

#define SIMT_SITE midfill::simt::Site site = midfill::simt::Site::current()

inline void __syncthreads(SIMT_SITE) {
  midfill::simt::block_barrier(site);
}
inline void __syncwarp(unsigned mask = midfill::simt::kFullMask, SIMT_SITE) {
  midfill::simt::collective(
      mask, "__syncwarp", nullptr, [](void* const*, unsigned, const midfill::simt::Site&) {}, true,
      site);
}
inline void __threadfence_block() {}
inline void __threadfence() {}
[[noreturn]] inline void __trap(SIMT_SITE) {
  midfill::simt::stop("__trap", site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = warpSize, SIMT_SITE) {
  const int first = midfill::simt::lane() & ~(width - 1);
  return midfill::simt::shuffle(mask, "__shfl_sync", value, first + (from & (width - 1)), site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int by, int width = warpSize, SIMT_SITE) {
  const int lane = midfill::simt::lane(), from = lane - by;
  const bool inside = from >= (lane & ~(width - 1));
  return midfill::simt::shuffle(mask, "__shfl_up_sync", value, inside ? from : lane, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int by, int width = warpSize, SIMT_SITE) {
  const int lane = midfill::simt::lane(), from = lane + by;
  const bool inside = from <= (lane | (width - 1));
  return midfill::simt::shuffle(mask, "__shfl_down_sync", value, inside ? from : lane, site);
}
// Lanes read their own segment of `width` lanes or an earlier one; else their own value.
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, SIMT_SITE) {
  const int lane = midfill::simt::lane(), from = lane ^ bits;
  const bool inside = from < warpSize && from <= (lane | (width - 1));
  return midfill::simt::shuffle(mask, "__shfl_xor_sync", value, inside ? from : lane, site);
}
inline unsigned __ballot_sync(unsigned mask, int vote, SIMT_SITE) {
  return midfill::simt::ballot(mask, "__ballot_sync", vote != 0, site);
}
inline int __any_sync(unsigned mask, int vote, SIMT_SITE) {
  return midfill::simt::ballot(mask, "__any_sync", vote != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int vote, SIMT_SITE) {
  return midfill::simt::ballot(mask, "__all_sync", vote == 0, site) == 0;
}

// T: int, unsigned, unsigned long long, float or double, as far as CUDA has them.
template <typename T>
T atomicAdd(T* p, std::type_identity_t<T> value, SIMT_SITE) {
  return midfill::simt::atomic_update(
      p, [=](T old) { return old + value; }, site);
}
template <typename T>
T atomicMax(T* p, std::type_identity_t<T> value, SIMT_SITE) {
  return midfill::simt::atomic_update(
      p, [=](T old) { return old < value ? value : old; }, site);
}
template <typename T>
T atomicMin(T* p, std::type_identity_t<T> value, SIMT_SITE) {
  return midfill::simt::atomic_update(
      p, [=](T old) { return value < old ? value : old; }, site);
}
template <typename T>
T atomicExch(T* p, std::type_identity_t<T> value, SIMT_SITE) {
  return midfill::simt::atomic_update(
      p, [=](T) { return value; }, site);
}
template <typename T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value, SIMT_SITE) {
  return midfill::simt::atomic_update(
      p, [=](T old) { return old == expected ? value : old; }, site);
}

// --- Arithmetic. Approximate instructions are exact here: tolerances come from the format.
inline int min(int a, int b) {
  return a < b ? a : b;
}
inline int max(int a, int b) {
  return a > b ? a : b;
}
inline unsigned min(unsigned a, unsigned b) {
  return a < b ? a : b;
}
inline unsigned max(unsigned a, unsigned b) {
  return a > b ? a : b;
}
inline long min(long a, long b) {
  return a < b ? a : b;
}
inline long max(long a, long b) {
  return a > b ? a : b;
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
inline float __expf(float x) {
  return expf(x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T __ldcs(const T* p) {
  return *p;
}
template <typename T>
void __stcs(T* p, T value) {
  *p = value;
}
template <typename T>
void __stwb(T* p, T value) {
  *p = value;
}
