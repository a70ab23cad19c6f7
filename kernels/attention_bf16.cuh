// What the attention kernels in bf16 share: tiles of rows in shared memory, the fragments that
// tensor cores take from them, and rotation. The kernels are flash attention by mma.m16n8k16: a
// warp owns 16 or 32 rows of a product and keeps their sums in registers; scores become the left
// operand of the next product without leaving them.
//
// A tile holds rows of kHead elements in chunks of 16 bytes, each row's chunks permuted
// ("swizzled") so that the eight rows of a matrix that ldmatrix reads cover all 32 banks.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/common/cuda.cuh"
#include "kernels/common/launch.h"
#include "kernels/common/ptx.h"
#include "kernels/common/vector8.cuh"

namespace midfill::flash {

using bf16 = __nv_bfloat16;

constexpr float kLog2e = 1.4426950408889634f;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int kWarps = 4, kThreads = 32 * kWarps;

// Of the running thread: in its warp, and its warp's in the block.
__device__ __forceinline__ int lane_index() {
  return static_cast<int>(threadIdx.x % 32);
}
__device__ __forceinline__ int warp_index() {
  return static_cast<int>(threadIdx.x / 32);
}

// Rows of heads in global memory, strides in elements. Row t of head h of sequence b.
struct Rows {
  bf16* data;
  int64_t batch, head;
  int row;
  __device__ bf16* of(int b, int h, int t) const {
    return data + b * batch + h * head + int64_t{t} * row;
  }
};

// Rotation by tables (T', half), f32; half = R / 2, 0 for none.
struct Turn {
  const float *cos = nullptr, *sin = nullptr;
  int half = 0;
};

// Eight elements of a row from column 8 * chunk on, turned by the angle of `position`; back by it
// where direction is -1.
template <typename T>
__device__ __forceinline__ void load_turned8(float (&to)[8], const T* row, int chunk,
                                             const Turn& turn, int position, float direction) {
  const int first = 8 * chunk, half = turn.half;
  load8(to, row + first);
  if (first >= 2 * half) return;
  const int64_t angles = int64_t{position} * half;
  if (half % 8 == 0) {
    const bool low = first < half;
    const int partner = low ? first + half : first - half, angle = low ? first : partner;
    const float sign = low ? -direction : direction;
    float other[8], c[8], s[8];
    load8(other, row + partner);
    load8(c, turn.cos + angles + angle);
    load8(s, turn.sin + angles + angle);
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) to[i] = to[i] * c[i] + sign * s[i] * other[i];
    return;
  }
  SIMT_UNROLL
  for (int i = 0; i < 8; ++i) {
    const int column = first + i;
    if (column >= 2 * half) continue;
    const bool low = column < half;
    const int partner = low ? column + half : column - half, angle = low ? column : partner;
    const float sign = low ? -direction : direction;
    to[i] = to[i] * turn.cos[angles + angle] +
            sign * turn.sin[angles + angle] * static_cast<float>(row[partner]);
  }
}

// A tile of rows of kHead elements in shared memory.
template <int kHead>
struct Tile {
  static constexpr int kChunks = kHead / 8;

  // Which bits of a chunk's number the row changes: rows of 64 or 192 bytes lie two to a line of 32
  // banks, or one and a half.
  static constexpr int kTwist = kHead % 64 == 0 ? 7 : 3;

  // Of a chunk, in elements.
  static __device__ __forceinline__ int offset(int row, int chunk) {
    return row * kHead + (chunk ^ ((kTwist == 7 ? row : row >> 1) & kTwist)) * 8;
  }

  // Threads copy tiles kPass rows at a time; with 12 chunks to a row the last warp rests.
  static constexpr int kPass = kHead == 96 ? 8 : kThreads / kChunks;
  static __device__ __forceinline__ int thread_row() {
    return static_cast<int>(threadIdx.x / kChunks);
  }
  // Where in its rows the thread's first copy begins.
  static __device__ __forceinline__ int thread_source(int stride) {
    return thread_row() * stride + static_cast<int>(threadIdx.x % kChunks) * 8;
  }
  // Starts copying kRows rows, of which `count` are there; the others become zeros. By all threads;
  // `from`: rows + thread_source(stride).
  template <int kRows>
  static __device__ __forceinline__ void copy_async(bf16* tile, const bf16* from, int stride,
                                                    int count) {
    static_assert(kRows % kPass == 0 && kPass % 8 == 0);
    if (kPass * kChunks < kThreads && thread_row() >= kPass) return;
    bf16* to = tile + offset(thread_row(), static_cast<int>(threadIdx.x % kChunks));
    const int left = count - thread_row();
    SIMT_UNROLL
    for (int i = 0; i < kRows; i += kPass) {
      ptx::cp_async<16>(to + i * kHead, from, i < left ? 16 : 0);
      from += kPass * stride;
    }
  }

  // Operands of products from a block of 16 rows and 16 columns, the columns from 16 * step on.
  // `at`: the offset of the block's first row, a multiple of 64, plus that of the lane, which is
  // where in the block a lane finds its row of ldmatrix's four matrices. `tile` may be a multiple
  // of 16 rows away.

  // The left one.
  static __device__ __forceinline__ void left(uint32_t (&a)[4], const bf16* tile, int at,
                                              int step) {
    ptx::ldmatrix(a, tile + advance(at, step));
  }
  // Two right ones, whose columns are columns 0..7 and 8..15 of the block: b[0..1] and b[2..3].
  static __device__ __forceinline__ void right_by_column(uint32_t (&b)[4], const bf16* tile, int at,
                                                         int step) {
    ptx::ldmatrix_trans(b, tile + advance(at, step));
  }
  // The lane's offset for these.
  static __device__ __forceinline__ int lane_by_column() {
    const int lane = lane_index();
    return offset(lane % 16, lane / 16);
  }

  // Two right ones, whose columns are rows 0..7 and 8..15 of the block; with their lane's offset.
  static __device__ __forceinline__ void right_by_row(uint32_t (&b)[4], const bf16* tile, int at,
                                                      int step) {
    ptx::ldmatrix(b, tile + advance(at, step));
  }
  static __device__ __forceinline__ int lane_by_row() {
    const int lane = lane_index();
    return offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  }

 private:
  static __device__ __forceinline__ int advance(int at, int step) {
    return (at ^ ((2 * step & kTwist) * 8)) + (2 * step & ~kTwist) * 8;
  }
};

// The left operand made of two neighbouring tiles of a product, columns 16 * step..+15 of it.
template <int kTiles>
__device__ __forceinline__ void left_of_product(uint32_t (&a)[4], const float (&d)[kTiles][4],
                                                int step) {
  a[0] = ptx::pack_bf16x2(d[2 * step][0], d[2 * step][1]);
  a[1] = ptx::pack_bf16x2(d[2 * step][2], d[2 * step][3]);
  a[2] = ptx::pack_bf16x2(d[2 * step + 1][0], d[2 * step + 1][1]);
  a[3] = ptx::pack_bf16x2(d[2 * step + 1][2], d[2 * step + 1][3]);
}

// ---- on the host

inline Turn turn_of(const Rotary& rotary) {
  if (rotary.dims() == 0) return {};
  return {rotary.cos.as<float>(), rotary.sin.as<float>(), static_cast<int>(rotary.dims() / 2)};
}

// (B,T,NH,3,HS), and what has the layout of one of its parts alone, (B,T,NH,HS).
struct Packed {
  bf16* data;
  int B, T, NH, HS;

  explicit Packed(const Tensor& qkv)
      : data(qkv.as<bf16>()),
        B(static_cast<int>(qkv.dim(0))),
        T(static_cast<int>(qkv.dim(1))),
        NH(static_cast<int>(qkv.dim(2))),
        HS(static_cast<int>(qkv.dim(4))) {}

  // Blocks: x is the head, y tells the tile, z is the sequence. The heads of a sequence run side by
  // side, so that what they read stays in L2; kernels take long tiles first, so that the last
  // blocks are short.
  dim3 grid(int tile) const {
    return {static_cast<unsigned>(NH), blocks_of(T, tile), static_cast<unsigned>(B)};
  }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(HS)); }
  Rows part(int which) const {  // q, k, v: 0, 1, 2
    return {data + which * HS, int64_t{T} * NH * 3 * HS, int64_t{3} * HS, NH * 3 * HS};
  }
  Rows dense(bf16* rows) const { return {rows, int64_t{T} * NH * HS, HS, NH * HS}; }
  size_t dense_bytes() const { return static_cast<size_t>(B) * T * NH * HS * sizeof(bf16); }
};

// Calls run(std::integral_constant<int, HS>()) for the head sizes that there are kernels for.
template <typename Run>
void with_head_size(std::string_view op, int HS, const Run& run) {
  switch (HS) {
    case 32:
      return run(std::integral_constant<int, 32>());
    case 64:
      return run(std::integral_constant<int, 64>());
    case 96:
      return run(std::integral_constant<int, 96>());
    case 128:
      return run(std::integral_constant<int, 128>());
  }
  fail("{} on cuda: head size {} in bf16, expected 32, 64, 96 or 128", op, HS);
}

}  // namespace midfill::flash
