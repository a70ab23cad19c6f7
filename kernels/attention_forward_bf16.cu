// Flash attention forward: a block takes 128 queries of one head, a warp 32 of them, against tiles
// of keys that arrive by asynchronous copies one tile ahead. Keys are turned beforehand into the
// workspace, queries as their tile is loaded.
//
// Softmax. Scores are kept in units of log2(e)/scale; a row's exponentials are taken relative to an
// offset that follows the row's maximum only when a score exceeds it by 2^kHeadroom, since any
// offset gives the same quotients: most tiles need neither the maximum over the row's four lanes
// nor a rescaling of the sums.
#include "kernels/attention_bf16.cuh"
#include "kernels/attention_bf16.h"

namespace midfill {

namespace {

using namespace flash;

constexpr int kQueries = 128, kKeys = 64, kStages = 2;
constexpr float kHeadroom = 8.0f;  // probabilities stay below 2^8, far from the limits of f32

template <int kHead>
struct Shape {
  static constexpr int kQueryTile = kQueries * kHead, kKeyTile = kKeys * kHead;  // elements
  static constexpr size_t kSharedBytes = (kQueryTile + kStages * 2 * kKeyTile) * sizeof(bf16);
  static constexpr int kBlocks = kHead > 32 ? 2 : 3;  // of a multiprocessor, by registers
};

struct Forward {
  Rows q, k, v;  // k turned
  Turn turn;     // of q
  bf16* out;     // (B,T,NH,HS)
  float* lse;    // (B,NH,T)
  int T, NH;
  float scale_log2;  // of scores: scale * log2(e)
};

// One warp's rows row + 16 m + g + 8 r of the tile, state [2 m + r].
template <int kHead>
struct WarpRows {
  static constexpr int kColumns = kHead / 8;
  float sums[2][kColumns][4] = {};  // of p v
  float offset[4], total[4] = {};   // total: this lane's share of the sum of p

  // Adds a tile of keys and values. `ahead`: the first key minus the first query of the warp.
  __device__ __forceinline__ void attend(const bf16* shared, int queries, int keys, int values,
                                         float scale_log2, int ahead) {
    using T = Tile<kHead>;
    float s[2][kKeys / 8][4] = {};
    SIMT_UNROLL
    for (int step = 0; step < kHead / 16; ++step) {
      uint32_t a[2][4];
      T::left(a[0], shared, queries, step);
      T::left(a[1], shared + 16 * kHead, queries, step);
      SIMT_UNROLL
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        T::right_by_row(b, shared + 16 * n * kHead, keys, step);
        SIMT_UNROLL
        for (int m = 0; m < 2; ++m) {
          ptx::mma_m16n8k16(s[m][2 * n], a[m], b[0], b[1]);
          ptx::mma_m16n8k16(s[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }

    if (ahead + kKeys > 1) {
      // The key that this lane's first query sees last, in columns from the lane's first.
      const int lane = lane_index(), last = lane / 4 - lane % 4 * 2 - ahead;
      SIMT_UNROLL
      for (int m = 0; m < 2; ++m) {
        SIMT_UNROLL
        for (int n = 0; n < kKeys / 8; ++n) {
          SIMT_UNROLL
          for (int i = 0; i < 4; ++i)
            if (8 * n + i % 2 > 16 * m + i / 2 * 8 + last) s[m][n][i] = kMinusInfinity;
        }
      }
    }
    float top[4] = {kMinusInfinity, kMinusInfinity, kMinusInfinity, kMinusInfinity};
    SIMT_UNROLL
    for (int m = 0; m < 2; ++m) {
      SIMT_UNROLL
      for (int n = 0; n < kKeys / 8; ++n) {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) top[2 * m + i / 2] = fmaxf(top[2 * m + i / 2], s[m][n][i]);
      }
    }
    bool beyond = false;
    SIMT_UNROLL
    for (int r = 0; r < 4; ++r) beyond |= top[r] * scale_log2 > offset[r] + kHeadroom;
    if (__any_sync(0xffffffffu, beyond)) follow(top, scale_log2);

    SIMT_UNROLL
    for (int m = 0; m < 2; ++m) {
      SIMT_UNROLL
      for (int n = 0; n < kKeys / 8; ++n) {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float p = ptx::ex2(s[m][n][i] * scale_log2 - offset[2 * m + i / 2]);
          total[2 * m + i / 2] += p;
          s[m][n][i] = p;
        }
      }
    }
    SIMT_UNROLL
    for (int step = 0; step < kKeys / 16; ++step) {
      uint32_t p[2][4];
      left_of_product(p[0], s[0], step);
      left_of_product(p[1], s[1], step);
      SIMT_UNROLL
      for (int pair = 0; pair < kHead / 16; ++pair) {
        uint32_t b[4];
        T::right_by_column(b, shared + 16 * step * kHead, values, pair);
        SIMT_UNROLL
        for (int m = 0; m < 2; ++m) {
          ptx::mma_m16n8k16(sums[m][2 * pair], p[m], b[0], b[1]);
          ptx::mma_m16n8k16(sums[m][2 * pair + 1], p[m], b[2], b[3]);
        }
      }
    }
  }

  // Raises the offsets to the maxima of the rows and rescales what has been summed.
  __device__ __forceinline__ void follow(float (&top)[4], float scale_log2) {
    SIMT_UNROLL
    for (int r = 0; r < 4; ++r) {
      top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 1));
      top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 2));
      const float raised = fmaxf(offset[r], top[r] * scale_log2);
      const float shrink = ptx::ex2(offset[r] - raised);
      offset[r] = raised;
      total[r] *= shrink;
      SIMT_UNROLL
      for (int n = 0; n < kColumns; ++n) {
        sums[r / 2][n][r % 2 * 2] *= shrink;
        sums[r / 2][n][r % 2 * 2 + 1] *= shrink;
      }
    }
  }
};

template <int kHead>
__global__ __launch_bounds__(kThreads, Shape<kHead>::kBlocks) void attention_forward(Forward x) {
  using S = Shape<kHead>;
  using T = Tile<kHead>;
  bf16* queries = dynamic_shared<bf16>();  // (kQueries, kHead)
  bf16* ring = queries + S::kQueryTile;    // (kStages, 2, kKeys, kHead): keys, values
  const int thread = static_cast<int>(threadIdx.x), warp = warp_index(), lane = lane_index();
  const int h = static_cast<int>(blockIdx.x), b = static_cast<int>(blockIdx.z);
  // The last queries see most keys and begin first.
  const int begin = static_cast<int>(gridDim.y - 1 - blockIdx.y) * kQueries;
  const int count = min(kQueries, x.T - begin);
  const int row = 32 * warp;  // the warp's first query in the tile

  // Tiles of keys and values arrive in turn in the two halves of the ring.
  const auto fetch = [&](int first) {
    bf16* to = ring + first / kKeys % kStages * 2 * S::kKeyTile;
    T::template copy_async<kKeys>(to, x.k.of(b, h, first) + T::thread_source(x.k.row), x.k.row,
                                  x.T - first);
    T::template copy_async<kKeys>(to + S::kKeyTile, x.v.of(b, h, first) + T::thread_source(x.v.row),
                                  x.v.row, x.T - first);
    ptx::cp_async_commit();
  };
  const bf16* q = x.q.of(b, h, begin);
  if (x.turn.half == 0)
    T::template copy_async<kQueries>(queries, q + T::thread_source(x.q.row), x.q.row, count);
  fetch(0);
  if (x.turn.half > 0) {
    for (int i = thread; i < kQueries * T::kChunks; i += kThreads) {
      const int r = i / T::kChunks, chunk = i % T::kChunks;
      float turned[8] = {};
      if (r < count) load_turned8(turned, q + int64_t{r} * x.q.row, chunk, x.turn, begin + r, 1.0f);
      store8_shared(queries + T::offset(r, chunk), turned);
    }
  }

  WarpRows<kHead> rows;
  SIMT_UNROLL
  for (int r = 0; r < 4; ++r) rows.offset[r] = kMinusInfinity;
  const int keys = begin + count;  // that any query of the tile sees
  for (int first = 0; first < keys; first += kKeys) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // the tile is there, and nobody reads the one before any more
    if (first + kKeys < keys) fetch(first + kKeys);
    const int ahead = first - (begin + row);
    const int tile = S::kQueryTile + first / kKeys % kStages * 2 * S::kKeyTile;
    if (ahead < 32)
      rows.attend(queries, row * kHead + T::lane_by_column(), tile + T::lane_by_row(),
                  tile + S::kKeyTile + T::lane_by_column(), x.scale_log2, ahead);
  }

  // The warp's queries are read: their place takes its outputs, on the way to whole rows.
  __syncwarp();
  SIMT_UNROLL
  for (int r = 0; r < 4; ++r) {
    float total = rows.total[r];
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    const int at = row + r / 2 * 16 + r % 2 * 8 + lane / 4;
    if (at < count && lane % 4 == 0)
      x.lse[(int64_t{b} * x.NH + h) * x.T + begin + at] = rows.offset[r] / kLog2e + logf(total);
    const float factor = 1.0f / total;
    SIMT_UNROLL
    for (int n = 0; n < kHead / 8; ++n) {
      const float* sums = &rows.sums[r / 2][n][r % 2 * 2];
      *reinterpret_cast<uint32_t*>(queries + T::offset(at, n) + 2 * (lane % 4)) =
          ptx::pack_bf16x2(factor * sums[0], factor * sums[1]);
    }
  }
  __syncwarp();
  bf16* out = x.out + ((int64_t{b} * x.T + begin) * x.NH + h) * kHead;
  for (int i = lane; i < 32 * T::kChunks; i += 32) {
    const int r = row + i / T::kChunks, chunk = i % T::kChunks;
    if (r < count)
      *reinterpret_cast<uint4*>(out + int64_t{r} * x.NH * kHead + chunk * 8) =
          *reinterpret_cast<const uint4*>(queries + T::offset(r, chunk));
  }
}

// Turns the keys; a block takes one position.
__global__ __launch_bounds__(256) void turn_keys(Rows to, Rows from, Turn turn, int T, int NH,
                                                 int chunks) {
  const int b = static_cast<int>(blockIdx.x) / T, t = static_cast<int>(blockIdx.x) % T;
  for (int i = static_cast<int>(threadIdx.x); i < NH * chunks; i += 256) {
    const int h = i / chunks, chunk = i % chunks;
    float turned[8];
    load_turned8(turned, from.of(b, h, t), chunk, turn, t, 1.0f);
    store8(to.of(b, h, t) + 8 * chunk, turned);
  }
}

template <int kHead>
void run(Cuda& cuda, const Forward& x, dim3 grid) {
  launch<attention_forward<kHead>>({.grid = grid,
                                    .block = kThreads,
                                    .shared_bytes = Shape<kHead>::kSharedBytes,
                                    .stream = stream_of(cuda)},
                                   x);
}

}  // namespace

void attention_forward_bf16(Cuda& cuda, const AttentionForward& op) {
  const Packed packed(op.qkv);
  Forward x{.q = packed.part(0),
            .k = packed.part(1),
            .v = packed.part(2),
            .turn = turn_of(op.position),
            .out = op.out.as<bf16>(),
            .lse = op.lse.as<float>(),
            .T = packed.T,
            .NH = packed.NH,
            .scale_log2 = packed.scale() * kLog2e};
  if (x.turn.half > 0) {
    const Rows turned = packed.dense(static_cast<bf16*>(cuda.workspace(packed.dense_bytes())));
    launch<turn_keys>({.grid = blocks_of(int64_t{packed.B} * packed.T, 1),
                       .block = 256,
                       .stream = stream_of(cuda)},
                      turned, x.k, x.turn, x.T, x.NH, packed.HS / 8);
    x.k = turned;
  }
  with_head_size("AttentionForward", packed.HS,
                 [&](auto size) { run<size()>(cuda, x, packed.grid(kQueries)); });
}

}  // namespace midfill
