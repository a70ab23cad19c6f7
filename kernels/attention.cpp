#include "kernels/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/common/check.h"
#include "kernels/common/tile.h"
#include "kernels/common/vecmath.h"

// One unit of work is one head of one sequence, or every n-th tile of it where there are fewer
// heads than threads could share evenly. A unit first packs its operands into padded tiles
// (rotating q and k on the way), then walks tiles of queries and keys; inside a tile, a stripe of
// tile::kRows queries multiplies only as far as its last query may see.
namespace midfill {

namespace {

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
void pack(float* dst, Rows src, int64_t position, int64_t count, const Geometry& g,
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
void transpose(float* dst, const float* src, const Geometry& g) {
  for (int64_t r = 0; r < kTile; r += kLanes)
    for (int64_t i = 0; i < g.width; i += kLanes)
      tile::transpose_block(src + r * g.width + i, g.width, dst + i * kTile + r, kTile);
}

// Rows of a tile back to their places: dst row = factor * row, turned back by its position.
void unpack(float* dst, int64_t stride, float* src, int64_t begin, int64_t count, const Geometry& g,
            const Turn& turn, float factor = 1.0f) {
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

}  // namespace

void RotaryTables::check() const {
  constexpr std::string_view kOp = "RotaryTables";
  require(cos && sin, "{}: operand cos or sin is missing", kOp);
  require(cos.rank() == 2, "{}: cos is {}, expected (T, R/2)", kOp, cos.shape_text());
  expect(cos, kOp, "cos", DType::f32, {cos.dim(0), cos.dim(1)});
  expect(sin, kOp, "sin", DType::f32, {cos.dim(0), cos.dim(1)});
  require(base > 0.0, "{}: base {} is not positive", kOp, base);
}

void RotaryTables::run(Cpu&) const {
  const int64_t T = cos.dim(0), half = cos.dim(1);
  auto *c = cos.as<float>(), *s = sin.as<float>();
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < T; ++t)
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(t) *
                           std::pow(base, -static_cast<double>(i) / static_cast<double>(half));
      c[t * half + i] = static_cast<float>(std::cos(angle));
      s[t * half + i] = static_cast<float>(std::sin(angle));
    }
}

namespace {

void check_rotary(std::string_view op, const Rotary& rotary, int64_t positions, int64_t HS) {
  if (!rotary.cos && !rotary.sin) return;
  require(rotary.cos && rotary.sin, "{}: only one of the rotary tables is given", op);
  require(rotary.cos.rank() == 2 && rotary.dims() <= HS && rotary.cos.dim(0) >= positions,
          "{}: rotary tables are {}, expected at least {} positions of at most {}", op,
          rotary.cos.shape_text(), positions, HS / 2);
  expect(rotary.cos, op, "cos", DType::f32, {rotary.cos.dim(0), rotary.cos.dim(1)});
  expect(rotary.sin, op, "sin", DType::f32, {rotary.cos.dim(0), rotary.cos.dim(1)});
}

// Checks qkv itself and gives its dims.
Geometry geometry_of(std::string_view op, const Tensor& qkv) {
  require(static_cast<bool>(qkv), "{}: operand qkv is missing", op);
  require(qkv.dtype() == DType::f32 && qkv.rank() == 5 && qkv.dim(3) == 3 && qkv.numel() > 0,
          "{}: qkv is {} {}, expected f32 (B, T, NH, 3, HS)", op, name_of(qkv.dtype()),
          qkv.shape_text());
  return {qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(4)};
}

}  // namespace

void AttentionForward::check() const {
  constexpr std::string_view kOp = "AttentionForward";
  const Geometry g = geometry_of(kOp, qkv);
  expect(out, kOp, "out", DType::f32, {g.B, g.T, g.NH, g.HS});
  expect(lse, kOp, "lse", DType::f32, {g.B, g.NH, g.T});
  check_rotary(kOp, position, g.T, g.HS);
  require(!overlap(out, qkv), "{}: out overlaps qkv", kOp);
}

void AttentionForward::run(Cpu& cpu) const {
  const Geometry g = geometry_of("AttentionForward", qkv);
  const Turn turn(position), straight;
  const int64_t splits = g.splits(cpu.threads());
  const int64_t thread_floats = 2 * g.packed_floats() + QueryTile::floats(g);
  auto* memory = static_cast<float*>(
      cpu.workspace(static_cast<size_t>(thread_floats * cpu.threads()) * sizeof(float)));
  const auto* x = qkv.as<float>();
  auto *y = out.as<float>(), *log_sums = lse.as<float>();

#pragma omp parallel for schedule(dynamic) num_threads(cpu.threads())
  for (int64_t unit = 0; unit < g.B * g.NH * splits; ++unit) {
    const int64_t head = unit / splits, b = head / g.NH, h = head % g.NH;
    const auto rows = [&](int64_t part) {
      return Rows{x + g.packed_offset(b, h, part), g.packed_stride()};
    };
    float* keys = memory + omp_get_thread_num() * thread_floats;
    float* values = keys + g.packed_floats();
    QueryTile tile(values + g.packed_floats(), g);

    for (int64_t j = 0; j < g.tiles; ++j) {
      const int64_t begin = j * kTile, count = std::min(kTile, g.T - begin);
      pack(tile.q, rows(1).from(begin), begin, count, g, turn);
      transpose(keys + j * g.tile_floats(), tile.q, g);
      pack(values + j * g.tile_floats(), rows(2).from(begin), begin, count, g, straight);
    }
    for (int64_t i = unit % splits; i < g.tiles; i += splits) {
      const int64_t begin = i * kTile, count = std::min(kTile, g.T - begin);
      pack(tile.q, rows(0).from(begin), begin, count, g, turn, g.scale);
      tile.attend(keys, values, begin, count, g);
      tile.write(y + g.head_offset(b, h) + begin * g.head_stride(), count, g);
      for (int64_t r = 0; r < count; ++r)
        log_sums[head * g.T + begin + r] = tile.m[r] + std::log(tile.l[r]);
    }
  }
}

void AttentionBackward::check() const {
  constexpr std::string_view kOp = "AttentionBackward";
  const Geometry g = geometry_of(kOp, qkv);
  expect(dqkv, kOp, "dqkv", DType::f32, {g.B, g.T, g.NH, 3, g.HS});
  expect(dout, kOp, "dout", DType::f32, {g.B, g.T, g.NH, g.HS});
  expect(out, kOp, "out", DType::f32, {g.B, g.T, g.NH, g.HS});
  expect(lse, kOp, "lse", DType::f32, {g.B, g.NH, g.T});
  check_rotary(kOp, position, g.T, g.HS);
  require(!overlap(dqkv, qkv) && !overlap(dqkv, out) && !overlap(dqkv, dout),
          "{}: dqkv overlaps qkv, out or dout", kOp);
}

namespace {

// The operands of one head, packed: rows are (tiles * kTile, width), turned ones tiles
// (width,kTile).
struct BackwardHead {
  float *q, *k, *k_turned, *v_turned, *dout;
  float* dq;
  float *p, *ds;    // (kTile,kTile): probabilities and gradients of the scores
  float *dk, *dv;   // (kTile,width)
  float* row_dots;  // (tiles * kTile): dout . out of each query

  static int64_t floats(const Geometry& g) {
    return 6 * g.packed_floats() + 2 * kTile * kTile + 2 * g.tile_floats() + g.tiles * kTile;
  }
  BackwardHead(float* memory, const Geometry& g) {
    const auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    q = take(g.packed_floats()), k = take(g.packed_floats());
    k_turned = take(g.packed_floats()), v_turned = take(g.packed_floats());
    dout = take(g.packed_floats()), dq = take(g.packed_floats());
    p = take(kTile * kTile), ds = take(kTile * kTile);
    dk = take(g.tile_floats()), dv = take(g.tile_floats());
    row_dots = take(g.tiles * kTile);
  }

  // Queries of tile i against keys of tile j <= i: adds to dq, dk, dv. log_sums: of the head.
  void run(int64_t i, int64_t j, const float* log_sums, const Geometry& g) {
    const int64_t begin = i * kTile, rows = std::min(kTile, g.T - begin);
    const int64_t ahead = begin - j * kTile;  // query r sees key c of the tile where c <= r + ahead
    const float *kt = k_turned + j * g.tile_floats(), *vt = v_turned + j * g.tile_floats();
    for (int64_t r = 0; r < rows; r += kRows) {
      const int64_t n = std::min(std::min(r + kRows, rows) + ahead, kTile);
      const int64_t padded = tile::round_up(n, kLanes), row = (begin + r) * g.width;
      tile::product<false>(padded, g.width, {q + row, g.width, 1}, kt, kTile, p + r * kTile, kTile);
      tile::product<false>(padded, g.width, {dout + row, g.width, 1}, vt, kTile, ds + r * kTile,
                           kTile);
      for (int64_t t = r; t < r + kRows; ++t) {
        float *probability = p + t * kTile, *gradient = ds + t * kTile;
        const int64_t seen = t < rows ? std::min(t + ahead + 1, n) : 0;
        std::fill(probability + seen, probability + padded, -kInfinity);
        std::fill(gradient + seen, gradient + padded, 0.0f);
        const float log_sum = t < rows ? log_sums[begin + t] : 0.0f;
        const float dot = t < rows ? row_dots[begin + t] : 0.0f;
#pragma omp simd
        for (int64_t c = 0; c < padded; ++c) {
          probability[c] = fast_exp(probability[c] - log_sum);
          gradient[c] = probability[c] * (gradient[c] - dot);
        }
      }
      tile::product<true>(g.width, n, {ds + r * kTile, kTile, 1}, k + j * g.tile_floats(), g.width,
                          dq + row, g.width);
    }
    // Key c is seen by queries from c - ahead on.
    for (int64_t c = 0; c < std::min(kTile, rows + ahead); c += kRows) {
      const int64_t first = std::max<int64_t>(0, c - ahead), count = rows - first;
      tile::product<true>(g.width, count, {p + first * kTile + c, 1, kTile},
                          dout + (begin + first) * g.width, g.width, dv + c * g.width, g.width);
      tile::product<true>(g.width, count, {ds + first * kTile + c, 1, kTile},
                          q + (begin + first) * g.width, g.width, dk + c * g.width, g.width);
    }
  }
};

}  // namespace

void AttentionBackward::run(Cpu& cpu) const {
  const Geometry g = geometry_of("AttentionBackward", qkv);
  const Turn turn(position), straight;
  const int64_t splits = g.splits(cpu.threads()), heads = g.B * g.NH;
  const int64_t thread_floats = BackwardHead::floats(g);
  // A split head has one dq for each of its units; they are added afterwards, in order.
  const int64_t partial_floats = splits == 1 ? 0 : heads * splits * g.packed_floats();
  auto* memory = static_cast<float*>(cpu.workspace(
      static_cast<size_t>(thread_floats * cpu.threads() + partial_floats) * sizeof(float)));
  float* partials = memory + thread_floats * cpu.threads();
  const auto *x = qkv.as<float>(), *dy = dout.as<float>(), *y = out.as<float>();
  const auto* log_sums = lse.as<float>();
  auto* dx = dqkv.as<float>();
  const auto write_dq = [&](float* dq, int64_t b, int64_t h, int64_t i) {
    unpack(dx + g.packed_offset(b, h, 0), g.packed_stride(), dq + i * g.tile_floats(), i * kTile,
           std::min(kTile, g.T - i * kTile), g, turn, g.scale);
  };

#pragma omp parallel num_threads(cpu.threads())
  {
    BackwardHead part(memory + omp_get_thread_num() * thread_floats, g);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < heads * splits; ++unit) {
      const int64_t head = unit / splits, b = head / g.NH, h = head % g.NH;
      const auto rows = [&](int64_t which) {
        return Rows{x + g.packed_offset(b, h, which), g.packed_stride()};
      };
      if (splits > 1) part.dq = partials + unit * g.packed_floats();
      for (int64_t i = 0; i < g.tiles; ++i) {
        const int64_t begin = i * kTile, count = std::min(kTile, g.T - begin);
        const int64_t offset = i * g.tile_floats();
        pack(part.q + offset, rows(0).from(begin), begin, count, g, turn, g.scale);
        pack(part.k + offset, rows(1).from(begin), begin, count, g, turn);
        transpose(part.k_turned + offset, part.k + offset, g);
        pack(part.dv, rows(2).from(begin), begin, count, g, straight);
        transpose(part.v_turned + offset, part.dv, g);
        pack(part.dout + offset, Rows{dy + g.head_offset(b, h), g.head_stride()}.from(begin), begin,
             count, g, straight);
        for (int64_t r = begin; r < begin + count; ++r) {
          const float* row = y + g.head_offset(b, h) + r * g.head_stride();
          const float* drow = part.dout + r * g.width;
          float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
          for (int64_t d = 0; d < g.HS; ++d) dot += row[d] * drow[d];
          part.row_dots[r] = dot;
        }
      }
      std::fill(part.dq, part.dq + g.packed_floats(), 0.0f);
      for (int64_t j = unit % splits; j < g.tiles; j += splits) {
        std::fill(part.dk, part.dk + g.tile_floats(), 0.0f);
        std::fill(part.dv, part.dv + g.tile_floats(), 0.0f);
        for (int64_t i = j; i < g.tiles; ++i) part.run(i, j, log_sums + head * g.T, g);
        const int64_t begin = j * kTile, count = std::min(kTile, g.T - begin);
        unpack(dx + g.packed_offset(b, h, 1), g.packed_stride(), part.dk, begin, count, g, turn);
        unpack(dx + g.packed_offset(b, h, 2), g.packed_stride(), part.dv, begin, count, g,
               straight);
      }
      if (splits == 1)
        for (int64_t i = 0; i < g.tiles; ++i) write_dq(part.dq, b, h, i);
    }
    if (splits > 1) {
#pragma omp for schedule(static)
      for (int64_t at_tile = 0; at_tile < heads * g.tiles; ++at_tile) {
        const int64_t head = at_tile / g.tiles, i = at_tile % g.tiles;
        float* dq = partials + head * splits * g.packed_floats();
        for (int64_t s = 1; s < splits; ++s)
          for (int64_t e = i * g.tile_floats(); e < (i + 1) * g.tile_floats(); ++e)
            dq[e] += dq[s * g.packed_floats() + e];
        write_dq(dq, head / g.NH, head % g.NH, i);
      }
    }
  }
}

void AttentionDecode::check() const {
  constexpr std::string_view kOp = "AttentionDecode";
  const Geometry g = geometry_of(kOp, qkv);
  expect(out, kOp, "out", DType::f32, {g.B, g.T, g.NH, g.HS});
  require(k_cache.rank() == 4, "{}: k_cache is {}, expected (B, NH, Tmax, HS)", kOp,
          k_cache.shape_text());
  expect(k_cache, kOp, "k_cache", DType::f32, {g.B, g.NH, k_cache.dim(2), g.HS});
  expect(v_cache, kOp, "v_cache", DType::f32, {g.B, g.NH, k_cache.dim(2), g.HS});
  require(start >= 0 && start + g.T <= k_cache.dim(2),
          "{}: positions {} to {} do not fit a cache of {}", kOp, start, start + g.T,
          k_cache.dim(2));
  check_rotary(kOp, position, start + g.T, g.HS);
  require(!overlap(out, qkv) && !overlap(out, k_cache) && !overlap(out, v_cache) &&
              !overlap(k_cache, v_cache) && !overlap(k_cache, qkv) && !overlap(v_cache, qkv),
          "{}: operands overlap", kOp);
}

namespace {

// One query, turned and scaled, against n cached keys: y (HS). scores (n) is scratch.
void attend_one(float* y, const float* q, const float* keys, const float* values, int64_t n,
                int64_t HS, float* scores) {
  float top = -kInfinity;
  for (int64_t t = 0; t < n; ++t) {
    const float* k = keys + t * HS;
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < HS; ++d) dot += q[d] * k[d];
    scores[t] = dot;
    top = dot > top ? dot : top;
  }
  std::fill(y, y + HS, 0.0f);
  float total = 0.0f;
  for (int64_t t = 0; t < n; ++t) {
    const float p = std::exp(scores[t] - top);
    const float* v = values + t * HS;
    total += p;
#pragma omp simd
    for (int64_t d = 0; d < HS; ++d) y[d] += p * v[d];
  }
  for (int64_t d = 0; d < HS; ++d) y[d] /= total;
}

}  // namespace

void AttentionDecode::run(Cpu& cpu) const {
  const Geometry g = geometry_of("AttentionDecode", qkv);
  const Geometry all(g.B, start + g.T, g.NH, g.HS);  // over all positions so far
  const Turn turn(position), straight;
  const int64_t Tmax = k_cache.dim(2), heads = g.B * g.NH;
  const int64_t splits = g.splits(cpu.threads());
  const int64_t thread_floats = tile::round_up(
      g.T == 1 ? all.T + g.width : 2 * all.packed_floats() + QueryTile::floats(g), kLanes);
  auto* memory = static_cast<float*>(
      cpu.workspace(static_cast<size_t>(thread_floats * cpu.threads()) * sizeof(float)));
  const auto* x = qkv.as<float>();
  auto *kc = k_cache.as<float>(), *vc = v_cache.as<float>(), *y = out.as<float>();

#pragma omp parallel num_threads(cpu.threads())
  {
    float* scratch = memory + omp_get_thread_num() * thread_floats;
#pragma omp for schedule(static)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t t = 0; t < g.T; ++t) {
        const float* k = x + g.packed_offset(head / g.NH, head % g.NH, 1) + t * g.packed_stride();
        float* row = kc + (head * Tmax + start + t) * g.HS;
        std::copy(k, k + g.HS, row);
        turn.apply(row, start + t);
        std::copy(k + g.HS, k + 2 * g.HS, vc + (head * Tmax + start + t) * g.HS);
      }
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < heads * splits; ++unit) {
      const int64_t head = unit / splits, b = head / g.NH, h = head % g.NH;
      const Rows queries{x + g.packed_offset(b, h, 0), g.packed_stride()};
      const Rows cached_keys{kc + head * Tmax * g.HS, g.HS};
      const Rows cached_values{vc + head * Tmax * g.HS, g.HS};
      if (g.T == 1) {
        for (int64_t d = 0; d < g.HS; ++d) scratch[d] = g.scale * queries.data[d];
        turn.apply(scratch, start);
        attend_one(y + g.head_offset(b, h), scratch, cached_keys.data, cached_values.data, all.T,
                   g.HS, scratch + g.width);
        continue;
      }
      float *keys = scratch, *values = scratch + all.packed_floats();
      QueryTile tile(values + all.packed_floats(), g);
      for (int64_t j = 0; j < all.tiles; ++j) {
        const int64_t begin = j * kTile, count = std::min(kTile, all.T - begin);
        pack(tile.q, cached_keys.from(begin), begin, count, g, straight);
        transpose(keys + j * g.tile_floats(), tile.q, g);
        pack(values + j * g.tile_floats(), cached_values.from(begin), begin, count, g, straight);
      }
      for (int64_t i = unit % splits; i < g.tiles; i += splits) {
        const int64_t begin = i * kTile, count = std::min(kTile, g.T - begin);
        pack(tile.q, queries.from(begin), start + begin, count, g, turn, g.scale);
        tile.attend(keys, values, start + begin, count, g);
        tile.write(y + g.head_offset(b, h) + begin * g.head_stride(), count, g);
      }
    }
  }
}

}  // namespace midfill
