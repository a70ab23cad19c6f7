#include "kernels/attention_f32.cuh"

#include "kernels/attention_fma.cuh"

namespace midfill {

using namespace attention_fma;

void attention_forward_f32(Cuda& cuda, const AttentionForward& op) {
  const int64_t HS = op.qkv.dim(4);
  require_head_size("AttentionForward", HS);
  run_forward<float>(cuda,
                     {.out = rows_of<float>(op.out),
                      .lse = op.lse.as<float>(),
                      .q = part_of<const float>(op.qkv, 0),
                      .k = part_of<const float>(op.qkv, 1),
                      .v = part_of<const float>(op.qkv, 2),
                      .turn_queries = Turn(op.position),
                      .turn_keys = Turn(op.position),
                      .heads = static_cast<int>(op.qkv.dim(2)),
                      .queries = static_cast<int>(op.qkv.dim(1)),
                      .start = 0,
                      .HS = static_cast<int>(HS),
                      .scale = score_scale(HS)},
                     op.qkv.dim(0));
}

namespace {

// Without atomics: one kernel has a tile of queries in each block and sums over keys, the other a
// tile of keys and sums over queries; both compute the probabilities, from the scores and lse.
struct Backward {
  Heads<float> dq, dk, dv;
  Heads<const float> q, k, v, dout, out;
  const float* lse;  // (B,NH,T)
  float* dots;       // (B,NH,T): dout . out, from the first kernel to the second
  Turn turn;
  int heads, T, HS;
  float scale;
};

// Rows [begin, begin + 64), below T, of a gradient: factor * sums, turned back.
// `tile` (64,W) is scratch that nobody reads any more.
template <int W>
__device__ void write_gradient(float* to, int64_t stride, float* tile, const Sums<W>& sums,
                               float factor, int begin, const Turn& turn, const Backward& g) {
  constexpr int kWarpRows = kRows * 32 / kThreads;
  __syncthreads();
  SIMT_UNROLL
  for (int i = 0; i < 4; ++i) {
    SIMT_UNROLL
    for (int j = 0; j < W / 32; ++j) {
      float values[4];
      SIMT_UNROLL
      for (int e = 0; e < 4; ++e) values[e] = factor * sums[i][j][e];
      store4(tile + row_of(i) * kStride<W> + 4 * column_of(j), values);
    }
  }
  __syncthreads();
  const int lane = threadIdx.x % 32, top = threadIdx.x / 32 * kWarpRows;
  const int count = min(kRows, g.T - begin);
  for (int r = top; r < min(top + kWarpRows, count); ++r)
    turn.row(tile + r * kStride<W>, begin + r, -1.0f);
  __syncthreads();
  for (int r = top; r < min(top + kWarpRows, count); ++r)
    if (4 * lane < g.HS) {
      float values[4];
      load4(values, tile + r * kStride<W> + 4 * lane);
      store4(to + (begin + r) * stride + 4 * lane, values);
    }
}

// dq, and dots.
template <int W>
__global__ __launch_bounds__(kThreads, 2) void backward_queries(Backward g) {
  auto* q = dynamic_shared<float>();
  float *dout = q + kRows * kStride<W>, *other = dout + kRows * kStride<W>;
  float* weights = other + kColumns * kStride<W>;
  const int b = blockIdx.x / g.heads, h = blockIdx.x % g.heads;
  const int begin = (gridDim.y - 1 - blockIdx.y) * kRows, keys = min(begin + kRows, g.T);

  load_tile<W, kRows>(q, g.q.of(b, h), g.q.row, begin, g.T, g.HS, g.turn, 0, g.scale * kLog2e);
  load_tile<W, kRows>(dout, g.dout.of(b, h), g.dout.row, begin, g.T, g.HS, Turn(), 0, 1.0f);
  __syncthreads();
  float log_sum[4], dot[4];
  SIMT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int row = begin + row_of(i);
    const int64_t at = int64_t{blockIdx.x} * g.T + row;
    log_sum[i] = row < g.T ? g.lse[at] * kLog2e : INFINITY;
    dot[i] = 0.0f;
    SIMT_UNROLL
    for (int j = 0; j < W / 32; ++j) {
      const int d = 4 * column_of(j);
      float y[4] = {}, dy[4];
      if (row < g.T && d < g.HS) load4(y, g.out.of(b, h) + row * g.out.row + d);
      load4(dy, dout + row_of(i) * kStride<W> + d);
      SIMT_UNROLL
      for (int e = 0; e < 4; ++e) dot[i] = fmaf(y[e], dy[e], dot[i]);
    }
    dot[i] = sum_of_row(dot[i]);
    if (row < g.T && column_of(0) == 0) g.dots[at] = dot[i];
  }

  Sums<W> dq = {};
  for (int key = 0; key < keys; key += kColumns) {
    __syncthreads();
    load_tile<W, kColumns>(other, g.v.of(b, h), g.v.row, key, keys, g.HS, Turn(), 0, 1.0f);
    __syncthreads();
    float ds[4][4] = {}, s[4][4] = {};
    add_dots<W>(ds, dout, other);
    __syncthreads();
    load_tile<W, kColumns>(other, g.k.of(b, h), g.k.row, key, keys, g.HS, g.turn, 0, 1.0f);
    __syncthreads();
    add_dots<W>(s, q, other);
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j)
        ds[i][j] = key + column_of(j) <= begin + row_of(i)
                       ? exp2f(s[i][j] - log_sum[i]) * (ds[i][j] - dot[i])
                       : 0.0f;
    }
    share(weights, ds);
    add_weighted<W>(dq, weights, other);
  }
  write_gradient<W>(g.dq.of(b, h), g.dq.row, q, dq, g.scale, begin, g.turn, g);
}

// dk and dv. The tiles of scores are those of the other kernel, transposed.
template <int W>
__global__ __launch_bounds__(kThreads, 2) void backward_keys(Backward g) {
  auto* k = dynamic_shared<float>();
  float *v = k + kRows * kStride<W>, *other = v + kRows * kStride<W>;
  float* weights = other + kColumns * kStride<W>;
  const int b = blockIdx.x / g.heads, h = blockIdx.x % g.heads, begin = blockIdx.y * kRows;

  load_tile<W, kRows>(k, g.k.of(b, h), g.k.row, begin, g.T, g.HS, g.turn, 0, 1.0f);
  load_tile<W, kRows>(v, g.v.of(b, h), g.v.row, begin, g.T, g.HS, Turn(), 0, 1.0f);
  Sums<W> dk = {}, dv = {};
  const auto load_queries = [&](int query) {
    __syncthreads();
    load_tile<W, kColumns>(other, g.q.of(b, h), g.q.row, query, g.T, g.HS, g.turn, 0,
                           g.scale * kLog2e);
    __syncthreads();
  };
  for (int query = begin; query < g.T; query += kColumns) {
    load_queries(query);
    float p[4][4] = {};
    add_dots<W>(p, k, other);
    SIMT_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int at = query + column_of(j);
      const float log_sum = at < g.T ? g.lse[int64_t{blockIdx.x} * g.T + at] * kLog2e : 0.0f;
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i)
        p[i][j] = at < g.T && begin + row_of(i) <= at ? exp2f(p[i][j] - log_sum) : 0.0f;
    }
    __syncthreads();
    load_tile<W, kColumns>(other, g.dout.of(b, h), g.dout.row, query, g.T, g.HS, Turn(), 0, 1.0f);
    share(weights, p);
    __syncthreads();
    add_weighted<W>(dv, weights, other);
    float ds[4][4] = {};
    add_dots<W>(ds, v, other);
    SIMT_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int at = query + column_of(j);
      const float dot = at < g.T ? g.dots[int64_t{blockIdx.x} * g.T + at] : 0.0f;
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i)
        ds[i][j] = at < g.T && begin + row_of(i) <= at ? p[i][j] * (ds[i][j] - dot) : 0.0f;
    }
    load_queries(query);
    share(weights, ds);
    add_weighted<W>(dk, weights, other);
  }
  // The queries carry scale / ln 2.
  write_gradient<W>(g.dk.of(b, h), g.dk.row, k, dk, kLn2, begin, g.turn, g);
  write_gradient<W>(g.dv.of(b, h), g.dv.row, v, dv, 1.0f, begin, Turn(), g);
}

}  // namespace

void attention_backward_f32(Cuda& cuda, const AttentionBackward& op) {
  const int64_t B = op.qkv.dim(0), T = op.qkv.dim(1), NH = op.qkv.dim(2), HS = op.qkv.dim(4);
  require_head_size("AttentionBackward", HS);
  auto* dots = static_cast<float*>(cuda.workspace(sizeof(float) * static_cast<size_t>(B * NH * T)));
  const Backward g = {.dq = part_of<float>(op.dqkv, 0),
                      .dk = part_of<float>(op.dqkv, 1),
                      .dv = part_of<float>(op.dqkv, 2),
                      .q = part_of<const float>(op.qkv, 0),
                      .k = part_of<const float>(op.qkv, 1),
                      .v = part_of<const float>(op.qkv, 2),
                      .dout = rows_of<const float>(op.dout),
                      .out = rows_of<const float>(op.out),
                      .lse = op.lse.as<float>(),
                      .dots = dots,
                      .turn = Turn(op.position),
                      .heads = static_cast<int>(NH),
                      .T = static_cast<int>(T),
                      .HS = static_cast<int>(HS),
                      .scale = score_scale(HS)};
  with_width(HS, [&](auto width) {
    constexpr int W = decltype(width)::value;
    const Launch how = {.grid = dim3(static_cast<unsigned>(B * NH), blocks_of(T, kRows)),
                        .block = kThreads,
                        .shared_bytes = shared_bytes<W>(2 * kRows + kColumns),
                        .stream = stream_of(cuda)};
    launch<backward_queries<W>>(how, g);
    launch<backward_keys<W>>(how, g);
  });
}

}  // namespace midfill
