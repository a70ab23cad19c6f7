// What the attention ops of the CPU share: heads packed into padded tiles, and a tile of queries
// against the keys it may see.
//
// One unit of work is one head of one sequence, or every n-th tile of it where there are fewer
// heads than threads could share evenly. A unit first packs its operands into padded tiles
// (rotating q and k on the way), then walks tiles of queries and keys; inside a tile, a stripe of
// tile::kRows queries multiplies only as far as its last query may see.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "kernels/attention.h"
#include "kernels/common/check.h"
#include "kernels/common/tile.h"
#include "kernels/common/vecmath.h"

namespace midfill::attention {

using tile::kLanes;
using tile::kRows;

constexpr int64_t kTile = 64;  // queries, and keys, of a tile; a multiple of kLanes and kRows
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The rows of one head, of HS elements each, `stride` elements apart.
struct Rows {
  const float* data;
  int64_t stride;
  Rows from(int64_t row) const { return {data + row * stride, stride}; }
};

// What turns q and k: tables for positions, or nothing.
struct Turn {
  const float *cos = nullptr, *sin = nullptr;
  int64_t half = 0;  // R / 2

  explicit Turn(const Rotary& rotary) : half(rotary.dims() / 2) {
    if (half > 0) cos = rotary.cos.as<float>(), sin = rotary.sin.as<float>();
  }
  Turn() = default;

  // Turns x (HS) in place by the angle of `position`, or back by it.
  void apply(float* x, int64_t position, float direction = 1.0f) const {
    const float *c = cos + position * half, *s = sin + position * half;
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half], sine = direction * s[i];
      x[i] = a * c[i] - b * sine;
      x[i + half] = b * c[i] + a * sine;
    }
  }
};

// Sizes shared by the three ops. A row is padded to whole vectors, T to whole tiles.
struct Geometry {
  int64_t B, T, NH, HS;
  int64_t width;  // HS padded
  int64_t tiles;  // tiles of T
  float scale;    // of the scores

  Geometry(int64_t b, int64_t t, int64_t nh, int64_t hs)
      : B(b),
        T(t),
        NH(nh),
        HS(hs),
        width(tile::round_up(hs, kLanes)),
        tiles((t + kTile - 1) / kTile),
        scale(1.0f / std::sqrt(static_cast<float>(hs))) {}

  int64_t tile_floats() const { return kTile * width; }
  int64_t packed_floats() const { return tiles * tile_floats(); }

  // Units a head is split into: several where whole heads would leave threads idle.
  int64_t splits(int threads) const {
    const int64_t heads = B * NH;
    if (heads % threads == 0 || heads >= 4 * threads) return 1;
    return std::min(tiles, (4 * threads + heads - 1) / heads);
  }

  // q, k or v (`part` 0, 1, 2) of head h of sequence b in (B,T,NH,3,HS).
  int64_t packed_offset(int64_t b, int64_t h, int64_t part) const {
    return ((b * T * NH + h) * 3 + part) * HS;
  }
  int64_t packed_stride() const { return NH * 3 * HS; }
  // The same in (B,T,NH,HS).
  int64_t head_offset(int64_t b, int64_t h) const { return (b * T * NH + h) * HS; }
  int64_t head_stride() const { return NH * HS; }
};

// dst (kTile,width) = factor * the first `count` rows of src, which stand at `position` and after,
// turned; zero elsewhere.
inline void pack(float* dst, Rows src, int64_t position, int64_t count, const Geometry& g,
                 const Turn& turn, float factor = 1.0f) {
  for (int64_t r = 0; r < kTile; ++r) {
    float* row = dst + r * g.width;
    if (r >= count) {
      std::fill(row, row + g.width, 0.0f);
      continue;
    }
    const float* x = src.data + r * src.stride;
    for (int64_t i = 0; i < g.HS; ++i) row[i] = factor * x[i];
    std::fill(row + g.HS, row + g.width, 0.0f);
    turn.apply(row, position + r);
  }
}

// dst (width,kTile) = src (kTile,width) transposed.
inline void transpose(float* dst, const float* src, const Geometry& g) {
  for (int64_t r = 0; r < kTile; r += kLanes)
    for (int64_t i = 0; i < g.width; i += kLanes)
      tile::transpose_block(src + r * g.width + i, g.width, dst + i * kTile + r, kTile);
}

// Rows of a tile back to their places: dst row = factor * row, turned back by its position.
inline void unpack(float* dst, int64_t stride, float* src, int64_t begin, int64_t count,
                   const Geometry& g, const Turn& turn, float factor = 1.0f) {
  for (int64_t r = 0; r < count; ++r) {
    float* row = src + r * g.width;
    turn.apply(row, begin + r, -1.0f);
    float* out = dst + (begin + r) * stride;
    for (int64_t i = 0; i < g.HS; ++i) out[i] = factor * row[i];
  }
}

// Queries of a tile against all keys they may see.
struct QueryTile {
  float* q;        // (kTile,width), turned and scaled
  float* o;        // (kTile,width)
  float* s;        // (kRows,kTile): scores, then probabilities
  float m[kTile];  // largest score so far
  float l[kTile];  // sum of exp(score - m) so far

  static int64_t floats(const Geometry& g) { return 2 * g.tile_floats() + kRows * kTile; }
  QueryTile(float* memory, const Geometry& g)
      : q(memory), o(memory + g.tile_floats()), s(memory + 2 * g.tile_floats()) {}

  // Query r stands at `position` + r and sees keys [0, position + r]. keys: tiles (width,kTile);
  // values: tiles (kTile,width).
  void attend(const float* keys, const float* values, int64_t position, int64_t rows,
              const Geometry& g) {
    std::fill(o, o + g.tile_floats(), 0.0f);
    std::fill(m, m + kTile, -kInfinity);
    std::fill(l, l + kTile, 0.0f);
    for (int64_t j = 0; j * kTile < position + rows; ++j) {
      const float* k = keys + j * g.tile_floats();
      const float* v = values + j * g.tile_floats();
      for (int64_t r = 0; r < rows; r += kRows) {
        const int64_t seen = position + std::min(r + kRows, rows) - j * kTile;  // by the last row
        if (seen <= 0) continue;
        const int64_t n = std::min(seen, kTile);
        tile::product<false>(tile::round_up(n, kLanes), g.width, {q + r * g.width, g.width, 1}, k,
                             kTile, s, kTile);
        for (int64_t i = 0; i < kRows; ++i)
          accumulate(r + i, s + i * kTile,
                     std::clamp<int64_t>(position + r + i + 1 - j * kTile, 0, n),
                     tile::round_up(n, kLanes), g);
        tile::product<true>(g.width, n, {s, kTile, 1}, v, g.width, o + r * g.width, g.width);
      }
    }
  }

  // Scores [0, seen) of row r become probabilities relative to the row's new maximum, the rest of
  // [0, n) zero; what the row has so far is rescaled to that maximum.
  void accumulate(int64_t r, float* scores, int64_t seen, int64_t n, const Geometry& g) {
    std::fill(scores + seen, scores + n, -kInfinity);
    if (seen == 0) {
      std::fill(scores, scores + n, 0.0f);
      return;
    }
    float top = m[r];
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; ++i) top = scores[i] > top ? scores[i] : top;
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < n; ++i) {
      scores[i] = fast_exp(scores[i] - top);
      total += scores[i];
    }
    if (top != m[r]) {
      const float shrink = std::exp(m[r] - top);
      l[r] *= shrink;
      for (int64_t i = 0; i < g.width; ++i) o[r * g.width + i] *= shrink;
      m[r] = top;
    }
    l[r] += total;
  }

  // The first `count` rows of dst, of (B,T,NH,HS), become the weighted means.
  void write(float* dst, int64_t count, const Geometry& g) const {
    for (int64_t r = 0; r < count; ++r) {
      const float factor = 1.0f / l[r];
      for (int64_t d = 0; d < g.HS; ++d) dst[r * g.head_stride() + d] = factor * o[r * g.width + d];
    }
  }
};

inline void check_rotary(std::string_view op, const Rotary& rotary, int64_t positions, int64_t HS) {
  if (!rotary.cos && !rotary.sin) return;
  require(rotary.cos && rotary.sin, "{}: only one of the rotary tables is given", op);
  require(rotary.cos.rank() == 2 && rotary.dims() <= HS && rotary.cos.dim(0) >= positions,
          "{}: rotary tables are {}, expected at least {} positions of at most {}", op,
          rotary.cos.shape_text(), positions, HS / 2);
  expect(rotary.cos, op, "cos", DType::f32, {rotary.cos.dim(0), rotary.cos.dim(1)});
  expect(rotary.sin, op, "sin", DType::f32, {rotary.cos.dim(0), rotary.cos.dim(1)});
}

// Checks qkv itself and gives its dims.
inline Geometry geometry_of(std::string_view op, const Tensor& qkv) {
  require(static_cast<bool>(qkv), "{}: operand qkv is missing", op);
  require((qkv.dtype() == DType::f32 || qkv.dtype() == DType::bf16) && qkv.rank() == 5 &&
              qkv.dim(3) == 3 && qkv.numel() > 0,
          "{}: qkv is {} {}, expected f32 or bf16 (B, T, NH, 3, HS)", op, name_of(qkv.dtype()),
          qkv.shape_text());
  return {qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(4)};
}

}  // namespace midfill::attention
