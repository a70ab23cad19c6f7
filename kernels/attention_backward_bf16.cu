// Flash attention backward, without atomics. Blocks are of two kinds: some have 64 keys, meet all
// queries that see them, and make gradients of keys and values; the others have 128 queries, meet
// all keys they see, and make gradients of queries. Both make the probabilities anew from scores
// and lse: seven matrix products for the five of a block that adds to both sides. In return every
// sum has one order, and nothing but operands and gradients goes through memory.
//
// Blocks of keys make scores transposed, keys as rows, so that probabilities and gradients of
// scores are left operands of the products that follow as they stand in registers.
#include "kernels/attention_bf16.cuh"
#include "kernels/attention_bf16.h"
#include "kernels/common/column_sums.cuh"

namespace midfill {

namespace {

using namespace flash;

constexpr int kStages = 2;
template <int kHead>
constexpr int kBlocks = kHead > 32 ? 2 : 3;  // of a multiprocessor, by registers

struct Backward {
  Rows q, k, v, dout;  // q, k turned
  Rows dq, dk, dv;
  Turn turn;
  const float2* stats;  // (B,NH,T): lse in units of log2, dout . out
  float* partials;      // (B * tiles of 64, NH, 3, HS), sums of columns; may be null
  int T, NH;
  float scale, scale_log2;

  __device__ float* partials_of(int b, int tile, int h, int part, int HS) const {
    const int64_t row = int64_t{b} * ((T + 63) / 64) + tile;
    return partials + ((row * NH + h) * 3 + part) * HS;
  }
};

// Statistics of rows, and turned queries and keys where there is a rotation. A block takes one
// position, 16 lanes a head.
__global__ __launch_bounds__(256, 4) void prepare_backward(Backward x, Rows q, Rows k, Rows out,
                                                           const float* lse, float2* stats,
                                                           int chunks) {
  const int b = static_cast<int>(blockIdx.x) / x.T, t = static_cast<int>(blockIdx.x) % x.T;
  const int thread = static_cast<int>(threadIdx.x), chunk = thread % 16;
  for (int first = 0; first < x.NH; first += 16) {
    const int h = first + thread / 16;
    const bool there = h < x.NH && chunk < chunks;
    float dot = 0.0f;
    if (there) {
      float y[8], dy[8];
      load8(y, out.of(b, h, t) + 8 * chunk);
      load8(dy, x.dout.of(b, h, t) + 8 * chunk);
      SIMT_UNROLL
      for (int i = 0; i < 8; ++i) dot += y[i] * dy[i];
    }
    SIMT_UNROLL
    for (int lanes = 8; lanes > 0; lanes /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, lanes);
    if (!there) continue;
    const int64_t row = (int64_t{b} * x.NH + h) * x.T + t;
    if (chunk == 0) stats[row] = make_float2(lse[row] * kLog2e, dot);
    if (x.turn.half == 0) continue;
    float turned[8];
    load_turned8(turned, q.of(b, h, t), chunk, x.turn, t, 1.0f);
    store8(x.q.of(b, h, t) + 8 * chunk, turned);
    load_turned8(turned, k.of(b, h, t), chunk, x.turn, t, 1.0f);
    store8(x.k.of(b, h, t) + 8 * chunk, turned);
  }
}

// How a warp brings gradients from the fragments of a product to rows in memory, 16 rows at a time,
// by way of shared memory, and sums their columns on the way.
template <int kHead>
struct GradientRows {
  static constexpr int kChunks = kHead / 8, kGroups = 32 / kChunks;  // rows at a time
  static constexpr int kPitch = kHead + 8;  // a warp's stores of pairs meet no bank twice
  static constexpr int kStage = 16 * kPitch, kSums = 32 * 8;  // floats of a warp
  static constexpr size_t kSharedBytes = kWarps * (kStage + kSums) * sizeof(float);

  // Rows `position` and after of `to`, of which `count` are there, become factor * d, turned back.
  static __device__ __forceinline__ void write(float* stage, const float (&d)[kHead / 8][4],
                                               bf16* to, int stride, int count, int position,
                                               const Turn& turn, float factor, float (&sums)[8]) {
    const int lane = lane_index();
    SIMT_UNROLL
    for (int n = 0; n < kHead / 8; ++n) {
      SIMT_UNROLL
      for (int r = 0; r < 2; ++r)
        *reinterpret_cast<float2*>(stage + (lane / 4 + 8 * r) * kPitch + 8 * n + lane % 4 * 2) =
            make_float2(factor * d[n][2 * r], factor * d[n][2 * r + 1]);
    }
    __syncwarp();
    const int chunk = lane % kChunks;
    if (lane < kGroups * kChunks) {
      for (int row = lane / kChunks; row < min(16, count); row += kGroups) {
        float gradient[8];
        load_turned8(gradient, stage + row * kPitch, chunk, turn, position + row, -1.0f);
        store8(to + int64_t{row} * stride + 8 * chunk, gradient);
        SIMT_UNROLL
        for (int i = 0; i < 8; ++i) sums[i] += gradient[i];
      }
    }
    __syncwarp();
  }

  // partials[column] = the sums of `warps` warps from `first` on; by all threads. `shared`: for all
  // warps.
  static __device__ __forceinline__ void add_up(float* shared, const float (&sums)[8], int first,
                                                int warps, float* partials) {
    __syncthreads();
    auto* to = reinterpret_cast<float4*>(shared + 8 * threadIdx.x);
    to[0] = make_float4(sums[0], sums[1], sums[2], sums[3]);
    to[1] = make_float4(sums[4], sums[5], sums[6], sums[7]);
    __syncthreads();
    if (threadIdx.x >= kHead) return;
    float sum = 0.0f;
    for (int warp = first; warp < first + warps; ++warp)
      for (int group = 0; group < kGroups; ++group)
        sum += shared[warp * kSums + group * kHead + threadIdx.x];
    partials[threadIdx.x] = sum;
  }
};

// ---- gradients of keys and values

template <int kHead>
struct KeysShape {
  static constexpr int kKeys = 64, kQueries = 64;
  static constexpr int kTile = 64 * kHead;  // elements
  static constexpr size_t kTileBytes = (2 + kStages * 2) * kTile * sizeof(bf16);
  static constexpr size_t kSharedBytes = kTileBytes + kStages * kQueries * sizeof(float2);
  static_assert(GradientRows<kHead>::kSharedBytes <= kTileBytes);
};

template <int kHead>
__device__ __forceinline__ void gradients_of_keys(const Backward& x, int tile) {
  using S = KeysShape<kHead>;
  using T = Tile<kHead>;
  using G = GradientRows<kHead>;
  // keys, values (kKeys, kHead); a ring of queries, dout (kStages, 2, kQueries, kHead) and their
  // statistics (kStages, kQueries).
  bf16* shared = dynamic_shared<bf16>();
  auto* stats = reinterpret_cast<float2*>(shared + (2 + kStages * 2) * S::kTile);
  const int lane = lane_index();
  const int h = static_cast<int>(blockIdx.x), b = static_cast<int>(blockIdx.z);
  const int begin = tile * S::kKeys, count = min(S::kKeys, x.T - begin);

  T::template copy_async<S::kKeys>(shared, x.k.of(b, h, begin) + T::thread_source(x.k.row), x.k.row,
                                   count);
  T::template copy_async<S::kKeys>(shared + S::kTile,
                                   x.v.of(b, h, begin) + T::thread_source(x.v.row), x.v.row, count);
  const auto fetch = [&](int first) {
    const int stage = first / S::kQueries % kStages, left = x.T - first;
    bf16* to = shared + (2 + 2 * stage) * S::kTile;
    T::template copy_async<S::kQueries>(to, x.q.of(b, h, first) + T::thread_source(x.q.row),
                                        x.q.row, left);
    T::template copy_async<S::kQueries>(
        to + S::kTile, x.dout.of(b, h, first) + T::thread_source(x.dout.row), x.dout.row, left);
    if (threadIdx.x < S::kQueries)
      ptx::cp_async<8>(stats + stage * S::kQueries + threadIdx.x,
                       x.stats + ((int64_t{b} * x.NH + h) * x.T + first) + threadIdx.x,
                       static_cast<int>(threadIdx.x) < left ? 8 : 0);
    ptx::cp_async_commit();
  };
  fetch(begin);

  const int keys = 16 * warp_index() * kHead + T::lane_by_column();  // the warp's
  float dk[kHead / 8][4] = {}, dv[kHead / 8][4] = {};
  for (int first = begin; first < x.T; first += S::kQueries) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // the tile is there, and nobody reads the one before any more
    if (first + S::kQueries < x.T) fetch(first + S::kQueries);
    const int stage = first / S::kQueries % kStages;
    const int queries = (2 + 2 * stage) * S::kTile;

    float p[S::kQueries / 8][4] = {}, ds[S::kQueries / 8][4] = {};
    SIMT_UNROLL
    for (int step = 0; step < kHead / 16; ++step) {
      uint32_t a[4];
      T::left(a, shared, keys, step);
      SIMT_UNROLL
      for (int n = 0; n < S::kQueries / 16; ++n) {
        uint32_t b2[4];
        T::right_by_row(b2, shared + 16 * n * kHead, queries + T::lane_by_row(), step);
        ptx::mma_m16n8k16(p[2 * n], a, b2[0], b2[1]);
        ptx::mma_m16n8k16(p[2 * n + 1], a, b2[2], b2[3]);
      }
    }
    SIMT_UNROLL
    for (int step = 0; step < kHead / 16; ++step) {
      uint32_t a[4];
      T::left(a, shared + S::kTile, keys, step);
      SIMT_UNROLL
      for (int n = 0; n < S::kQueries / 16; ++n) {
        uint32_t b2[4];
        T::right_by_row(b2, shared + S::kTile + 16 * n * kHead, queries + T::lane_by_row(), step);
        ptx::mma_m16n8k16(ds[2 * n], a, b2[0], b2[1]);
        ptx::mma_m16n8k16(ds[2 * n + 1], a, b2[2], b2[3]);
      }
    }
    // Rows are keys, columns queries: n and lane % 4 choose two neighbours. Before its diagonal a
    // key is not seen.
    const int begins = first > begin ? -64 : 16 * warp_index() + lane / 4 - lane % 4 * 2;
    SIMT_UNROLL
    for (int n = 0; n < S::kQueries / 8; ++n) {
      const float4 both =
          *reinterpret_cast<const float4*>(stats + stage * S::kQueries + 8 * n + lane % 4 * 2);
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float lse = i % 2 == 0 ? both.x : both.z, dot = i % 2 == 0 ? both.y : both.w;
        const bool seen = 8 * n + i % 2 >= begins + i / 2 * 8;
        p[n][i] = seen ? ptx::ex2(p[n][i] * x.scale_log2 - lse) : 0.0f;
        ds[n][i] = p[n][i] * (ds[n][i] - dot);
      }
    }
    SIMT_UNROLL
    for (int step = 0; step < S::kQueries / 16; ++step) {
      uint32_t a[4];
      left_of_product(a, p, step);
      SIMT_UNROLL
      for (int pair = 0; pair < kHead / 16; ++pair) {
        uint32_t b2[4];
        T::right_by_column(b2, shared + S::kTile + 16 * step * kHead, queries + T::lane_by_column(),
                           pair);
        ptx::mma_m16n8k16(dv[2 * pair], a, b2[0], b2[1]);
        ptx::mma_m16n8k16(dv[2 * pair + 1], a, b2[2], b2[3]);
      }
    }
    SIMT_UNROLL
    for (int step = 0; step < S::kQueries / 16; ++step) {
      uint32_t a[4];
      left_of_product(a, ds, step);
      SIMT_UNROLL
      for (int pair = 0; pair < kHead / 16; ++pair) {
        uint32_t b2[4];
        T::right_by_column(b2, shared + 16 * step * kHead, queries + T::lane_by_column(), pair);
        ptx::mma_m16n8k16(dk[2 * pair], a, b2[0], b2[1]);
        ptx::mma_m16n8k16(dk[2 * pair + 1], a, b2[2], b2[3]);
      }
    }
  }

  __syncthreads();  // all tiles are read: their place takes the gradients
  auto* stage = reinterpret_cast<float*>(shared);
  const int row = 16 * warp_index();  // the warp's first
  float dk_sums[8] = {}, dv_sums[8] = {};
  G::write(stage + row * G::kPitch, dk, x.dk.of(b, h, begin + row), x.dk.row, count - row,
           begin + row, x.turn, x.scale, dk_sums);
  G::write(stage + row * G::kPitch, dv, x.dv.of(b, h, begin + row), x.dv.row, count - row,
           begin + row, {}, 1.0f, dv_sums);
  if (x.partials == nullptr) return;
  float* sums = stage + kWarps * G::kStage;
  G::add_up(sums, dk_sums, 0, kWarps, x.partials_of(b, tile, h, 1, kHead));
  G::add_up(sums, dv_sums, 0, kWarps, x.partials_of(b, tile, h, 2, kHead));
}

// ---- gradients of queries

template <int kHead>
struct QueriesShape {
  static constexpr int kQueries = 128, kKeys = 32;
  static constexpr int kQueryTile = kQueries * kHead, kKeyTile = kKeys * kHead;  // elements
  static constexpr size_t kSharedBytes = (2 * kQueryTile + kStages * 2 * kKeyTile) * sizeof(bf16);
  static_assert(GradientRows<kHead>::kSharedBytes <= kSharedBytes);
};

template <int kHead>
__device__ __forceinline__ void gradients_of_queries(const Backward& x, int tile) {
  using S = QueriesShape<kHead>;
  using T = Tile<kHead>;
  using G = GradientRows<kHead>;
  // queries, dout (kQueries, kHead); a ring of keys, values (kStages, 2, kKeys, kHead).
  bf16* shared = dynamic_shared<bf16>();
  const int row = 32 * warp_index(),
            lane = lane_index();  // row: the warp's first query in the tile
  const int h = static_cast<int>(blockIdx.x), b = static_cast<int>(blockIdx.z);
  const int begin = tile * S::kQueries, count = min(S::kQueries, x.T - begin);

  T::template copy_async<S::kQueries>(shared, x.q.of(b, h, begin) + T::thread_source(x.q.row),
                                      x.q.row, count);
  T::template copy_async<S::kQueries>(shared + S::kQueryTile,
                                      x.dout.of(b, h, begin) + T::thread_source(x.dout.row),
                                      x.dout.row, count);
  const auto fetch = [&](int first) {
    bf16* to = shared + 2 * S::kQueryTile + first / S::kKeys % kStages * 2 * S::kKeyTile;
    T::template copy_async<S::kKeys>(to, x.k.of(b, h, first) + T::thread_source(x.k.row), x.k.row,
                                     x.T - first);
    T::template copy_async<S::kKeys>(
        to + S::kKeyTile, x.v.of(b, h, first) + T::thread_source(x.v.row), x.v.row, x.T - first);
    ptx::cp_async_commit();
  };
  fetch(0);

  float2 stats[4];  // of rows row + 16 m + lane / 4 + 8 r, [2 m + r]
  SIMT_UNROLL
  for (int r = 0; r < 4; ++r) {
    const int at = row + r / 2 * 16 + r % 2 * 8 + lane / 4;
    stats[r] =
        at < count ? x.stats[(int64_t{b} * x.NH + h) * x.T + begin + at] : make_float2(0.0f, 0.0f);
  }
  float dq[2][kHead / 8][4] = {};
  const int keys = begin + count;  // that any query of the tile sees
  for (int first = 0; first < keys; first += S::kKeys) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // the tile is there, and nobody reads the one before any more
    if (first + S::kKeys < keys) fetch(first + S::kKeys);
    const int ahead = first - (begin + row);
    if (ahead >= 32) continue;
    const int queries = row * kHead + T::lane_by_column();
    const int ring = 2 * S::kQueryTile + first / S::kKeys % kStages * 2 * S::kKeyTile;

    float p[2][S::kKeys / 8][4] = {}, ds[2][S::kKeys / 8][4] = {};
    SIMT_UNROLL
    for (int step = 0; step < kHead / 16; ++step) {
      uint32_t a[2][4];
      T::left(a[0], shared, queries, step);
      T::left(a[1], shared + 16 * kHead, queries, step);
      SIMT_UNROLL
      for (int n = 0; n < S::kKeys / 16; ++n) {
        uint32_t b2[4];
        T::right_by_row(b2, shared + 16 * n * kHead, ring + T::lane_by_row(), step);
        SIMT_UNROLL
        for (int m = 0; m < 2; ++m) {
          ptx::mma_m16n8k16(p[m][2 * n], a[m], b2[0], b2[1]);
          ptx::mma_m16n8k16(p[m][2 * n + 1], a[m], b2[2], b2[3]);
        }
      }
    }
    SIMT_UNROLL
    for (int step = 0; step < kHead / 16; ++step) {
      uint32_t a[2][4];
      T::left(a[0], shared + S::kQueryTile, queries, step);
      T::left(a[1], shared + S::kQueryTile + 16 * kHead, queries, step);
      SIMT_UNROLL
      for (int n = 0; n < S::kKeys / 16; ++n) {
        uint32_t b2[4];
        T::right_by_row(b2, shared + S::kKeyTile + 16 * n * kHead, ring + T::lane_by_row(), step);
        SIMT_UNROLL
        for (int m = 0; m < 2; ++m) {
          ptx::mma_m16n8k16(ds[m][2 * n], a[m], b2[0], b2[1]);
          ptx::mma_m16n8k16(ds[m][2 * n + 1], a[m], b2[2], b2[3]);
        }
      }
    }
    if (ahead == 0) {
      const int last = lane / 4 - lane % 4 * 2;  // key that the first query sees
      SIMT_UNROLL
      for (int m = 0; m < 2; ++m) {
        SIMT_UNROLL
        for (int n = 0; n < S::kKeys / 8; ++n) {
          SIMT_UNROLL
          for (int i = 0; i < 4; ++i)
            if (8 * n + i % 2 > 16 * m + i / 2 * 8 + last) p[m][n][i] = kMinusInfinity;
        }
      }
    }
    SIMT_UNROLL
    for (int m = 0; m < 2; ++m) {
      SIMT_UNROLL
      for (int n = 0; n < S::kKeys / 8; ++n) {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float2 of_row = stats[2 * m + i / 2];
          const float probability = ptx::ex2(p[m][n][i] * x.scale_log2 - of_row.x);
          ds[m][n][i] = probability * (ds[m][n][i] - of_row.y);
        }
      }
    }
    SIMT_UNROLL
    for (int step = 0; step < S::kKeys / 16; ++step) {
      uint32_t a[2][4];
      left_of_product(a[0], ds[0], step);
      left_of_product(a[1], ds[1], step);
      SIMT_UNROLL
      for (int pair = 0; pair < kHead / 16; ++pair) {
        uint32_t b2[4];
        T::right_by_column(b2, shared + 16 * step * kHead, ring + T::lane_by_column(), pair);
        SIMT_UNROLL
        for (int m = 0; m < 2; ++m) {
          ptx::mma_m16n8k16(dq[m][2 * pair], a[m], b2[0], b2[1]);
          ptx::mma_m16n8k16(dq[m][2 * pair + 1], a[m], b2[2], b2[3]);
        }
      }
    }
  }

  __syncthreads();  // all tiles are read: their place takes the gradients
  auto* stage = reinterpret_cast<float*>(shared);
  float sums[8] = {};
  SIMT_UNROLL
  for (int m = 0; m < 2; ++m) {
    const int at = row + 16 * m;
    G::write(stage + row / 2 * G::kPitch, dq[m], x.dq.of(b, h, begin + at), x.dq.row, count - at,
             begin + at, x.turn, x.scale, sums);
  }
  if (x.partials == nullptr) return;
  for (int half = 0; half < 2; ++half)
    if (64 * half < count)
      G::add_up(stage + kWarps * G::kStage, sums, 2 * half, 2,
                x.partials_of(b, begin / 64 + half, h, 0, kHead));
}

// Of each kind of tile, the longest come first; see Packed::grid.
template <int kHead>
__global__ __launch_bounds__(kThreads, kBlocks<kHead>) void backward_keys(Backward x) {
  gradients_of_keys<kHead>(x, static_cast<int>(blockIdx.y));
}
template <int kHead>
__global__ __launch_bounds__(kThreads, kBlocks<kHead>) void backward_queries(Backward x) {
  gradients_of_queries<kHead>(x, static_cast<int>(gridDim.y - 1 - blockIdx.y));
}

template <int kHead>
void run(Cuda& cuda, const Backward& x, const Packed& packed) {
  launch<backward_queries<kHead>>({.grid = packed.grid(QueriesShape<kHead>::kQueries),
                                   .block = kThreads,
                                   .shared_bytes = QueriesShape<kHead>::kSharedBytes,
                                   .stream = stream_of(cuda)},
                                  x);
  launch<backward_keys<kHead>>({.grid = packed.grid(KeysShape<kHead>::kKeys),
                                .block = kThreads,
                                .shared_bytes = KeysShape<kHead>::kSharedBytes,
                                .stream = stream_of(cuda)},
                               x);
}

}  // namespace

void attention_backward_bf16(Cuda& cuda, const AttentionBackward& op) {
  const Packed packed(op.qkv), gradients(op.dqkv);
  const int64_t rows = int64_t{packed.B} * packed.T;
  const int64_t columns = int64_t{packed.NH} * 3 * packed.HS;
  const Turn turn = turn_of(op.position);
  // In the workspace: statistics, sums of columns, turned queries and keys; each at a multiple of
  // 256 bytes.
  const auto padded = [](size_t bytes) { return (bytes + 255) / 256 * 256; };
  const size_t stats_bytes = padded(static_cast<size_t>(rows * packed.NH) * sizeof(float2));
  const int64_t sum_rows = int64_t{packed.B} * blocks_of(packed.T, 64);
  const size_t sums_bytes =
      op.dbias ? padded(static_cast<size_t>(sum_rows * columns) * sizeof(float)) : 0;
  const size_t turned_bytes = turn.half > 0 ? padded(packed.dense_bytes()) : 0;
  auto* memory = static_cast<char*>(cuda.workspace(stats_bytes + sums_bytes + 2 * turned_bytes));
  auto* stats = reinterpret_cast<float2*>(memory);
  auto* partials = op.dbias ? reinterpret_cast<float*>(memory + stats_bytes) : nullptr;
  auto* turned = reinterpret_cast<bf16*>(memory + stats_bytes + sums_bytes);

  const bool turns = turn.half > 0;
  const Backward x{.q = turns ? packed.dense(turned) : packed.part(0),
                   .k = turns ? packed.dense(turned + turned_bytes / sizeof(bf16)) : packed.part(1),
                   .v = packed.part(2),
                   .dout = packed.dense(op.dout.as<bf16>()),
                   .dq = gradients.part(0),
                   .dk = gradients.part(1),
                   .dv = gradients.part(2),
                   .turn = turn,
                   .stats = stats,
                   .partials = partials,
                   .T = packed.T,
                   .NH = packed.NH,
                   .scale = packed.scale(),
                   .scale_log2 = packed.scale() * kLog2e};
  with_head_size("AttentionBackward", packed.HS, [&](auto size) {
    launch<prepare_backward>({.grid = blocks_of(rows, 1), .block = 256, .stream = stream_of(cuda)},
                             x, packed.part(0), packed.part(1), packed.dense(op.out.as<bf16>()),
                             op.lse.as<float>(), stats, size() / 8);
    run<size()>(cuda, x, packed);
  });
  if (op.dbias) add_column_sums(cuda, partials, sum_rows, columns, op.dbias.as<float>());
}

}  // namespace midfill
