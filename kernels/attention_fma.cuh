// Attention in fp32 multiply-adds, for operands of either dtype: what the f32 ops
// (attention_f32.cu) and the prefill of AttentionDecode share.
//
// A block of 128 threads has a tile of 64 rows of its own (queries, or keys where gradients of keys
// are made) and meets 32 rows of the other kind at a time. Thread (group, slot) = (0..15, 0..7)
// holds a 4 x 4 piece of the tile of scores: rows group + 16 i, columns slot + 8 j; and of sums
// that are HS wide the columns 4 (slot + 8 j) to 4 (slot + 8 j) + 3 of its four rows. Thus the
// eight threads of a row are neighbours in a warp. Rows in shared memory are padded with zeros to
// W = 32, 64, 96 or 128 columns, and by 4 floats more, which keeps the eight slots in different
// banks.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/common/check.h"
#include "kernels/common/cuda.cuh"
#include "kernels/common/launch.h"
#include "kernels/common/ptx.h"

namespace midfill::attention_fma {

constexpr int kThreads = 128, kGroups = 16, kSlots = 8;
constexpr int kRows = 64, kColumns = 32;
constexpr int kWeightStride = kColumns + 8;  // four groups of a warp write to different banks
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

template <int W>
constexpr int kStride = W + 4;

// Bytes of shared memory for `rows` padded rows and one tile of weights.
template <int W>
constexpr size_t shared_bytes(int rows) {
  return sizeof(float) * (rows * kStride<W> + kRows * kWeightStride);
}

inline void require_head_size(std::string_view op, int64_t HS) {
  require(HS % 8 == 0 && HS <= 128,
          "{} on cuda: head size {}, expected a multiple of 8, at most 128", op, HS);
}

// Calls body(std::integral_constant<int, W>()) with the smallest W that holds HS.
template <typename Body>
void with_width(int64_t HS, const Body& body) {
  if (HS <= 32)
    body(std::integral_constant<int, 32>());
  else if (HS <= 64)
    body(std::integral_constant<int, 64>());
  else if (HS <= 96)
    body(std::integral_constant<int, 96>());
  else
    body(std::integral_constant<int, 128>());
}

// One operand: the rows of all heads, HS elements each. Strides in elements.
template <typename T>
struct Heads {
  T* data;
  int64_t batch, head, row;
  __device__ T* of(int64_t b, int64_t h) const { return data + b * batch + h * head; }
};

// q, k or v (`part` 0, 1, 2) of (B,T,NH,3,HS), or of its gradient.
template <typename T>
Heads<T> part_of(const Tensor& qkv, int64_t part) {
  const int64_t T_ = qkv.dim(1), NH = qkv.dim(2), HS = qkv.dim(4);
  return {qkv.as<std::remove_const_t<T>>() + part * HS, T_ * NH * 3 * HS, 3 * HS, NH * 3 * HS};
}
// Of (B,T,NH,HS).
template <typename T>
Heads<T> rows_of(const Tensor& t) {
  const int64_t T_ = t.dim(1), NH = t.dim(2), HS = t.dim(3);
  return {t.as<std::remove_const_t<T>>(), T_ * NH * HS, HS, NH * HS};
}

// The tables that turn q and k, or none.
struct Turn {
  const float *cos = nullptr, *sin = nullptr;
  int half = 0;  // R / 2

  Turn() = default;
  explicit Turn(const Rotary& rotary) : half(static_cast<int>(rotary.dims() / 2)) {
    if (half > 0) cos = rotary.cos.as<float>(), sin = rotary.sin.as<float>();
  }

  // Element d of the row x, turned by the angle of `position`.
  template <typename T>
  __device__ float element(const T* x, int d, int position) const {
    const float value = static_cast<float>(x[d]);
    if (d >= 2 * half) return value;
    const int i = d < half ? d : d - half;
    const float c = cos[int64_t{position} * half + i], s = sin[int64_t{position} * half + i];
    return d < half ? value * c - static_cast<float>(x[d + half]) * s
                    : value * c + static_cast<float>(x[d - half]) * s;
  }

  // A warp turns the row x of shared memory in place, or back (direction -1). Each lane has its own
  // elements, so that the caller synchronises before and after.
  __device__ void row(float* x, int position, float direction) const {
    for (int i = threadIdx.x % 32; i < half; i += 32) {
      const float a = x[i], b = x[i + half];
      const float c = cos[int64_t{position} * half + i];
      const float s = direction * sin[int64_t{position} * half + i];
      x[i] = a * c - b * s;
      x[i + half] = b * c + a * s;
    }
  }
};

// Four neighbouring elements, in registers as f32; addresses aligned to them.
__device__ __forceinline__ void load4(float (&to)[4], const float* from) {
  const float4 x = *reinterpret_cast<const float4*>(from);
  to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}
__device__ __forceinline__ void load4(float (&to)[4], const __nv_bfloat16* from) {
  const uint2 x = *reinterpret_cast<const uint2*>(from);
  to[0] = ptx::low_bf16(x.x), to[1] = ptx::high_bf16(x.x);
  to[2] = ptx::low_bf16(x.y), to[3] = ptx::high_bf16(x.y);
}
__device__ __forceinline__ void store4(float* to, const float (&from)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}
__device__ __forceinline__ void store4(__nv_bfloat16* to, const float (&from)[4]) {
  *reinterpret_cast<uint2*>(to) =
      make_uint2(ptx::pack_bf16x2(from[0], from[1]), ptx::pack_bf16x2(from[2], from[3]));
}

// The thread's rows and columns of the tile of scores.
__device__ __forceinline__ int row_of(int i) {
  return threadIdx.x / kSlots + kGroups * i;
}
__device__ __forceinline__ int column_of(int j) {
  return threadIdx.x % kSlots + kSlots * j;
}

// Sum and maximum over the eight threads of a row, the same bits in all of them.
__device__ __forceinline__ float sum_of_row(float x) {
  SIMT_UNROLL
  for (int bits = kSlots / 2; bits > 0; bits /= 2) x += __shfl_xor_sync(0xffffffffu, x, bits);
  return x;
}
__device__ __forceinline__ float max_of_row(float x) {
  SIMT_UNROLL
  for (int bits = kSlots / 2; bits > 0; bits /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, bits));
  return x;
}

// tile (kCount,W) = factor * rows [begin, begin + kCount) of x, turned by their position, where row
// r stands at `first` + r; zero from row `end` and column HS on. By the whole block, which
// synchronises before and after.
template <int W, int kCount, typename T>
__device__ void load_tile(float* tile, const T* x, int64_t stride, int begin, int end, int HS,
                          const Turn& turn, int first, float factor) {
  constexpr int kWarps = kThreads / 32, kWarpRows = kCount / kWarps;
  const int lane = threadIdx.x % 32, top = threadIdx.x / 32 * kWarpRows;
  SIMT_UNROLL
  for (int i = 0; i < kWarpRows * W / 4 / 32; ++i) {
    const int at = lane + 32 * i, r = top + at / (W / 4), d = at % (W / 4) * 4;
    float values[4] = {};
    if (begin + r < end && d < HS) load4(values, x + (begin + r) * stride + d);
    SIMT_UNROLL
    for (float& value : values) value *= factor;
    store4(tile + r * kStride<W> + d, values);
  }
  if (turn.half == 0) return;
  __syncwarp();
  for (int r = top; r < top + kWarpRows && begin + r < end; ++r)
    turn.row(tile + r * kStride<W>, first + begin + r, 1.0f);
}

// s += rows of a (kRows,W) times rows of b (kColumns,W), both in shared memory.
template <int W>
__device__ __forceinline__ void add_dots(float (&s)[4][4], const float* a, const float* b) {
  for (int d = 0; d < W; d += 4) {
    float x[4][4], y[4][4];
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) load4(x[i], a + row_of(i) * kStride<W> + d);
    SIMT_UNROLL
    for (int j = 0; j < 4; ++j) load4(y[j], b + column_of(j) * kStride<W> + d);
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j) {
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) s[i][j] = fmaf(x[i][e], y[j][e], s[i][j]);
      }
    }
  }
}

// The thread's part of 64 rows of W columns.
template <int W>
using Sums = float[4][W / 32][4];

// sums += weights (kRows,kColumns) times rows (kColumns,W), both in shared memory.
template <int W>
__device__ __forceinline__ void add_weighted(Sums<W>& sums, const float* weights,
                                             const float* rows) {
  for (int c = 0; c < kColumns; c += 4) {
    float w[4][4];
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) load4(w[i], weights + row_of(i) * kWeightStride + c);
    SIMT_UNROLL
    for (int k = 0; k < 4; ++k) {
      SIMT_UNROLL
      for (int j = 0; j < W / 32; ++j) {
        float x[4];
        load4(x, rows + (c + k) * kStride<W> + 4 * column_of(j));
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) {
          SIMT_UNROLL
          for (int e = 0; e < 4; ++e) sums[i][j][e] = fmaf(w[i][k], x[e], sums[i][j][e]);
        }
      }
    }
  }
}

// The thread's scores go to the tile of weights, where the threads of the same row read them: all
// of one warp.
__device__ __forceinline__ void share(float* weights, const float (&s)[4][4]) {
  SIMT_UNROLL
  for (int i = 0; i < 4; ++i) {
    SIMT_UNROLL
    for (int j = 0; j < 4; ++j) weights[row_of(i) * kWeightStride + column_of(j)] = s[i][j];
  }
  __syncwarp();
}

// Queries [0, queries), of which query r stands at position start + r and sees the keys
// [0, start + r]. Turns what it loads by the tables given.
template <typename T>
struct Forward {
  Heads<T> out;
  float* lse;  // (B,NH,queries), or null
  Heads<const T> q, k, v;
  Turn turn_queries, turn_keys;
  int heads, queries, start, HS;
  float scale;  // of the scores
};

template <typename T, int W>
__global__ __launch_bounds__(kThreads, 2) void forward(Forward<T> f) {
  auto* q = dynamic_shared<float>();
  float *k = q + kRows * kStride<W>, *v = k + kColumns * kStride<W>;
  float* weights = v + kColumns * kStride<W>;
  const int b = blockIdx.x / f.heads, h = blockIdx.x % f.heads;
  const int first = (gridDim.y - 1 - blockIdx.y) * kRows;  // the long ones first
  const int last = min(first + kRows, f.queries);
  const int keys = f.start + last;

  load_tile<W, kRows>(q, f.q.of(b, h), f.q.row, first, f.queries, f.HS, f.turn_queries, f.start,
                      f.scale * kLog2e);
  Sums<W> sums = {};
  float top[4], total[4] = {};  // of a row: largest score so far; of the thread: sum of 2^(s - top)
  SIMT_UNROLL
  for (float& t : top) t = -INFINITY;

  for (int key = 0; key < keys; key += kColumns) {
    __syncthreads();
    load_tile<W, kColumns>(k, f.k.of(b, h), f.k.row, key, keys, f.HS, f.turn_keys, 0, 1.0f);
    load_tile<W, kColumns>(v, f.v.of(b, h), f.v.row, key, keys, f.HS, Turn(), 0, 1.0f);
    __syncthreads();
    float s[4][4] = {};
    add_dots<W>(s, q, k);
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int seen = f.start + first + row_of(i) - key;  // columns up to this one
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j)
        if (column_of(j) > seen) s[i][j] = -INFINITY;
      // Key 0 is seen by all, so that the maximum is a number from the first tile on.
      const float best =
          fmaxf(top[i], max_of_row(fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]))));
      const float shrink = exp2f(top[i] - best);
      top[i] = best;
      total[i] *= shrink;
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j) {
        s[i][j] = exp2f(s[i][j] - best);
        total[i] += s[i][j];
      }
      SIMT_UNROLL
      for (int j = 0; j < W / 32; ++j) {
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) sums[i][j][e] *= shrink;
      }
    }
    share(weights, s);
    add_weighted<W>(sums, weights, v);
  }

  SIMT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int row = first + row_of(i);
    const float sum = sum_of_row(total[i]), factor = 1.0f / sum;
    if (row >= last) continue;
    if (f.lse != nullptr && column_of(0) == 0)
      f.lse[int64_t{blockIdx.x} * f.queries + row] = top[i] * kLn2 + logf(sum);
    SIMT_UNROLL
    for (int j = 0; j < W / 32; ++j) {
      SIMT_UNROLL
      for (float& x : sums[i][j]) x *= factor;
      if (4 * column_of(j) < f.HS)
        store4(f.out.of(b, h) + row * f.out.row + 4 * column_of(j), sums[i][j]);
    }
  }
}

// The kernel over B sequences.
template <typename T>
void run_forward(Cuda& cuda, const Forward<T>& f, int64_t B) {
  with_width(f.HS, [&](auto width) {
    constexpr int W = decltype(width)::value;
    launch<forward<T, W>>(
        {.grid = dim3(static_cast<unsigned>(B * f.heads), blocks_of(f.queries, kRows)),
         .block = kThreads,
         .shared_bytes = shared_bytes<W>(kRows + 2 * kColumns),
         .stream = stream_of(cuda)},
        f);
  });
}

inline float score_scale(int64_t HS) {
  return 1.0f / std::sqrt(static_cast<float>(HS));
}

}  // namespace midfill::attention_fma
