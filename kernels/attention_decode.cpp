// Attention over a KV cache.
#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "kernels/attention_tiles.h"
#include "kernels/common/parallel.h"

namespace midfill {

using namespace attention;

void AttentionDecode::check() const {
  constexpr std::string_view kOp = "AttentionDecode";
  const Geometry g = geometry_of(kOp, qkv);
  expect(out, kOp, "out", qkv.dtype(), {g.B, g.T, g.NH, g.HS});
  require(k_cache.rank() == 4, "{}: k_cache is {}, expected (B, NH, Tmax, HS)", kOp,
          k_cache.shape_text());
  expect(k_cache, kOp, "k_cache", qkv.dtype(), {g.B, g.NH, k_cache.dim(2), g.HS});
  expect(v_cache, kOp, "v_cache", qkv.dtype(), {g.B, g.NH, k_cache.dim(2), g.HS});
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

  parallel_ranges(cpu, heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t head = first; head < last; ++head)
      for (int64_t t = 0; t < g.T; ++t) {
        const float* k = x + g.packed_offset(head / g.NH, head % g.NH, 1) + t * g.packed_stride();
        float* row = kc + (head * Tmax + start + t) * g.HS;
        std::copy(k, k + g.HS, row);
        turn.apply(row, start + t);
        std::copy(k + g.HS, k + 2 * g.HS, vc + (head * Tmax + start + t) * g.HS);
      }
  });
  parallel_units(cpu, heads * splits, [&](int64_t unit, int thread) {
    float* scratch = memory + thread * thread_floats;
    const int64_t head = unit / splits, b = head / g.NH, h = head % g.NH;
    const Rows queries{x + g.packed_offset(b, h, 0), g.packed_stride()};
    const Rows cached_keys{kc + head * Tmax * g.HS, g.HS};
    const Rows cached_values{vc + head * Tmax * g.HS, g.HS};
    if (g.T == 1) {
      for (int64_t d = 0; d < g.HS; ++d) scratch[d] = g.scale * queries.data[d];
      turn.apply(scratch, start);
      attend_one(y + g.head_offset(b, h), scratch, cached_keys.data, cached_values.data, all.T,
                 g.HS, scratch + g.width);
      return;
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
  });
}

}  // namespace midfill
