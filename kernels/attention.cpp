#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/attention_tiles.h"
#include "kernels/common/column_sums.h"

namespace midfill {

using namespace attention;

void RotaryTables::check() const {
  constexpr std::string_view kOp = "RotaryTables";
  require(cos && sin, "{}: operand cos or sin is missing", kOp);
  require(cos.rank() == 2, "{}: cos is {}, expected (T, R/2)", kOp, cos.shape_text());
  expect(cos, kOp, "cos", DType::f32, {cos.dim(0), cos.dim(1)});
  expect(sin, kOp, "sin", DType::f32, {cos.dim(0), cos.dim(1)});
  require(base > 0.0, "{}: base {} is not positive", kOp, base);
}

void RotaryTables::run(Cpu& cpu) const {
  const int64_t T = cos.dim(0), half = cos.dim(1);
  auto *c = cos.as<float>(), *s = sin.as<float>();
  parallel_ranges(cpu, T, 1, [&](int64_t begin, int64_t end_) {
    for (int64_t t = begin; t < end_; ++t)
      for (int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(t) *
                             std::pow(base, -static_cast<double>(i) / static_cast<double>(half));
        c[t * half + i] = static_cast<float>(std::cos(angle));
        s[t * half + i] = static_cast<float>(std::sin(angle));
      }
  });
}

void AttentionForward::check() const {
  constexpr std::string_view kOp = "AttentionForward";
  const Geometry g = geometry_of(kOp, qkv);
  expect(out, kOp, "out", qkv.dtype(), {g.B, g.T, g.NH, g.HS});
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

  parallel_units(cpu, g.B * g.NH * splits, [&](int64_t unit, int thread) {
    const int64_t head = unit / splits, b = head / g.NH, h = head % g.NH;
    const auto rows = [&](int64_t part) {
      return Rows{x + g.packed_offset(b, h, part), g.packed_stride()};
    };
    float* keys = memory + thread * thread_floats;
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
  });
}

void AttentionBackward::check() const {
  constexpr std::string_view kOp = "AttentionBackward";
  const Geometry g = geometry_of(kOp, qkv);
  expect(dqkv, kOp, "dqkv", qkv.dtype(), {g.B, g.T, g.NH, 3, g.HS});
  expect(dout, kOp, "dout", qkv.dtype(), {g.B, g.T, g.NH, g.HS});
  expect(out, kOp, "out", qkv.dtype(), {g.B, g.T, g.NH, g.HS});
  expect(lse, kOp, "lse", DType::f32, {g.B, g.NH, g.T});
  if (dbias) expect(dbias, kOp, "dbias", DType::f32, {g.NH * 3 * g.HS});
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

  parallel_units(cpu, heads * splits, [&](int64_t unit, int thread) {
    BackwardHead part(memory + thread * thread_floats, g);
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
      unpack(dx + g.packed_offset(b, h, 2), g.packed_stride(), part.dv, begin, count, g, straight);
    }
    if (splits == 1)
      for (int64_t i = 0; i < g.tiles; ++i) write_dq(part.dq, b, h, i);
  });
  if (splits > 1) {
    parallel_ranges(cpu, heads * g.tiles, 1, [&](int64_t first, int64_t last) {
      for (int64_t at_tile = first; at_tile < last; ++at_tile) {
        const int64_t head = at_tile / g.tiles, i = at_tile % g.tiles;
        float* dq = partials + head * splits * g.packed_floats();
        for (int64_t s = 1; s < splits; ++s)
          for (int64_t e = i * g.tile_floats(); e < (i + 1) * g.tile_floats(); ++e)
            dq[e] += dq[s * g.packed_floats() + e];
        write_dq(dq, head / g.NH, head % g.NH, i);
      }
    });
  }
  if (dbias) {
    // The heads are done, and with them the workspace: it takes the sums over blocks of rows.
    const int64_t columns = g.NH * 3 * g.HS;
    auto* sums = static_cast<float*>(
        cpu.workspace(static_cast<size_t>(sum_blocks(g.B * g.T) * columns) * sizeof(float)));
    for_each_sum_block(cpu, g.B * g.T, [&](int64_t block, int64_t begin, int64_t end) {
      float* to = sums + block * columns;
      std::fill(to, to + columns, 0.0f);
      for (int64_t row = begin; row < end; ++row)
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c) to[c] += dx[row * columns + c];
    });
    add_column_sums(cpu, sums, sum_blocks(g.B * g.T), columns, dbias.as<float>());
  }
}

}  // namespace midfill
