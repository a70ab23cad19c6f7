// Attention over a KV cache. One new position: blocks share the keys of a head, a second kernel
// puts their results together. Several: they are appended first, then the tiles of
// attention_fma.cuh run over the cache.
#include "kernels/attention.h"
#include "kernels/attention_fma.cuh"

namespace midfill {

using namespace attention_fma;

namespace {

constexpr int kChunk = 128;  // keys of a block at T = 1, so that sums do not depend on the device
constexpr int kChunkKeys = kChunk / kGroups;  // keys of each group of eight threads

// Operands at T = 1; head = b * NH + h.
template <typename T>
struct Step {
  T* out;                // (heads,HS)
  T *k_cache, *v_cache;  // (heads,Tmax,HS)
  const T* qkv;          // (heads,3,HS)
  float* parts;  // (heads,chunks,HS + 2): of a chunk, relative to its largest score, the sum
                 // of the values, that score and the sum of the weights
  Turn turn;
  int64_t Tmax;
  int HS, start;
  float scale;  // of the scores
};

// Block (head, chunk). A group of eight threads has every 16th key of the chunk, a thread the
// columns 4 (slot + 8 j) to 4 (slot + 8 j) + 3 of it.
template <typename T, int W>
__global__ __launch_bounds__(kThreads) void decode_chunk(Step<T> d) {
  SIMT_SHARED(float, query, [W]);
  SIMT_SHARED(float, sums, [kGroups][W]);
  SIMT_SHARED(float, tops, [kGroups]);
  SIMT_SHARED(float, totals, [kGroups]);
  const int64_t head = blockIdx.x;
  const int first = blockIdx.y * kChunk, tid = threadIdx.x, group = tid / kSlots;
  const T* x = d.qkv + head * 3 * d.HS;
  T *keys = d.k_cache + head * d.Tmax * d.HS, *values = d.v_cache + head * d.Tmax * d.HS;

  // The block of the newest key appends it, and then reads it as the others.
  if (tid < d.HS) {
    query[tid] = d.scale * kLog2e * d.turn.element(x, tid, d.start);
    if (d.start - first < kChunk) {
      const int64_t at = int64_t{d.start} * d.HS + tid;
      keys[at] = static_cast<T>(d.turn.element(x + d.HS, tid, d.start));
      values[at] = x[2 * d.HS + tid];
    }
  } else if (tid < W) {
    query[tid] = 0.0f;
  }
  __syncthreads();

  float q[W / 32][4];
  SIMT_UNROLL
  for (int j = 0; j < W / 32; ++j) load4(q[j], query + 4 * column_of(j));
  float s[kChunkKeys], top = -INFINITY;
  SIMT_UNROLL
  for (int i = 0; i < kChunkKeys; ++i) {
    const int key = first + row_of(i);
    float dot = 0.0f;
    SIMT_UNROLL
    for (int j = 0; j < W / 32; ++j) {
      const int column = 4 * column_of(j);
      float k[4] = {};
      if (key <= d.start && column < d.HS) load4(k, keys + int64_t{key} * d.HS + column);
      SIMT_UNROLL
      for (int e = 0; e < 4; ++e) dot = fmaf(q[j][e], k[e], dot);
    }
    dot = sum_of_row(dot);
    s[i] = key <= d.start ? dot : -INFINITY;
    top = fmaxf(top, s[i]);
  }
  // A group without keys has weights of zero, not of 2^(-inf + inf).
  const float base = top == -INFINITY ? 0.0f : top;
  float sum[W / 32][4] = {}, total = 0.0f;
  SIMT_UNROLL
  for (int i = 0; i < kChunkKeys; ++i) {
    const int key = first + row_of(i);
    const float weight = exp2f(s[i] - base);
    total += weight;
    SIMT_UNROLL
    for (int j = 0; j < W / 32; ++j) {
      const int column = 4 * column_of(j);
      float v[4] = {};
      if (key <= d.start && column < d.HS) load4(v, values + int64_t{key} * d.HS + column);
      SIMT_UNROLL
      for (int e = 0; e < 4; ++e) sum[j][e] = fmaf(weight, v[e], sum[j][e]);
    }
  }
  SIMT_UNROLL
  for (int j = 0; j < W / 32; ++j) store4(&sums[group][4 * column_of(j)], sum[j]);
  if (column_of(0) == 0) tops[group] = top, totals[group] = total;
  __syncthreads();

  if (tid >= d.HS) return;
  float block_top = tops[0];
  for (int g = 1; g < kGroups; ++g) block_top = fmaxf(block_top, tops[g]);
  float result = 0.0f, weights = 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    const float factor = exp2f(tops[g] - block_top);
    result += factor * sums[g][tid];
    weights += factor * totals[g];
  }
  if (gridDim.y == 1) {
    d.out[head * d.HS + tid] = static_cast<T>(result / weights);
    return;
  }
  float* part = d.parts + (head * gridDim.y + blockIdx.y) * (d.HS + 2);
  part[tid] = result;
  if (tid == 0) part[d.HS] = block_top, part[d.HS + 1] = weights;
}

// out (heads,HS) from the parts of the chunks, in their order. Block: a head.
template <typename T>
__global__ __launch_bounds__(kThreads) void combine_chunks(T* out, const float* parts, int chunks,
                                                           int HS) {
  const int64_t head = blockIdx.x;
  const float* part = parts + head * chunks * (HS + 2);
  const int tid = threadIdx.x;
  if (tid >= HS) return;
  float top = part[HS];
  for (int c = 1; c < chunks; ++c) top = fmaxf(top, part[int64_t{c} * (HS + 2) + HS]);
  float result = 0.0f, weights = 0.0f;
  for (int c = 0; c < chunks; ++c, part += HS + 2) {
    const float factor = exp2f(part[HS] - top);
    result += factor * part[tid];
    weights += factor * part[HS + 1];
  }
  out[head * HS + tid] = static_cast<T>(result / weights);
}

// Rows [start, start + T) of the caches (B,NH,Tmax,HS) from qkv (B,T,NH,3,HS), keys turned. A warp
// for each row.
template <typename T>
__global__ __launch_bounds__(kThreads) void append(T* k_cache, T* v_cache, const T* qkv, Turn turn,
                                                   int64_t rows, int queries, int heads,
                                                   int64_t Tmax, int HS, int start) {
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (row >= rows) return;
  const int h = static_cast<int>(row % heads), t = static_cast<int>(row / heads % queries);
  const T* k = qkv + (row * 3 + 1) * HS;
  const int64_t to = ((row / heads / queries * heads + h) * Tmax + start + t) * HS;
  for (int d = threadIdx.x % 32; d < HS; d += 32) {
    k_cache[to + d] = static_cast<T>(turn.element(k, d, start + t));
    v_cache[to + d] = k[HS + d];
  }
}

template <typename T>
void run_step(Cuda& cuda, const AttentionDecode& op) {
  const int64_t heads = op.qkv.dim(0) * op.qkv.dim(2), HS = op.qkv.dim(4);
  const unsigned chunks = blocks_of(op.start + 1, kChunk);
  auto* parts = static_cast<float*>(
      chunks == 1 ? nullptr
                  : cuda.workspace(sizeof(float) * static_cast<size_t>(heads * chunks * (HS + 2))));
  const Step<T> step = {.out = op.out.as<T>(),
                        .k_cache = op.k_cache.as<T>(),
                        .v_cache = op.v_cache.as<T>(),
                        .qkv = op.qkv.as<T>(),
                        .parts = parts,
                        .turn = Turn(op.position),
                        .Tmax = op.k_cache.dim(2),
                        .HS = static_cast<int>(HS),
                        .start = static_cast<int>(op.start),
                        .scale = score_scale(HS)};
  const auto grid_x = static_cast<unsigned>(heads);
  with_width(HS, [&](auto width) {
    constexpr int W = decltype(width)::value;
    launch<decode_chunk<T, W>>(
        {.grid = dim3(grid_x, chunks), .block = kThreads, .stream = stream_of(cuda)}, step);
  });
  if (chunks > 1)
    launch<combine_chunks<T>>({.grid = grid_x, .block = kThreads, .stream = stream_of(cuda)},
                              step.out, parts, chunks, HS);
}

template <typename T>
void run_prefill(Cuda& cuda, const AttentionDecode& op) {
  const int64_t B = op.qkv.dim(0), queries = op.qkv.dim(1), heads = op.qkv.dim(2);
  const int64_t HS = op.qkv.dim(4), Tmax = op.k_cache.dim(2), rows = B * queries * heads;
  const auto cached = [&](const Tensor& cache) {
    return Heads<const T>{cache.as<T>(), heads * Tmax * HS, Tmax * HS, HS};
  };
  const Turn turn(op.position);
  launch<append<T>>(
      {.grid = blocks_of(rows, kThreads / 32), .block = kThreads, .stream = stream_of(cuda)},
      op.k_cache.as<T>(), op.v_cache.as<T>(), op.qkv.as<T>(), turn, rows, queries, heads, Tmax, HS,
      op.start);
  run_forward<T>(cuda,
                 {.out = rows_of<T>(op.out),
                  .lse = nullptr,
                  .q = part_of<const T>(op.qkv, 0),
                  .k = cached(op.k_cache),
                  .v = cached(op.v_cache),
                  .turn_queries = turn,
                  .turn_keys = Turn(),
                  .heads = static_cast<int>(heads),
                  .queries = static_cast<int>(queries),
                  .start = static_cast<int>(op.start),
                  .HS = static_cast<int>(HS),
                  .scale = score_scale(HS)},
                 B);
}

template <typename T>
void run_as(Cuda& cuda, const AttentionDecode& op) {
  if (op.qkv.dim(1) == 1)
    run_step<T>(cuda, op);
  else
    run_prefill<T>(cuda, op);
}

}  // namespace

void AttentionDecode::run(Cuda& cuda) const {
  require_head_size("AttentionDecode", qkv.dim(4));
  if (qkv.dtype() == DType::f32)
    run_as<float>(cuda, *this);
  else
    run_as<__nv_bfloat16>(cuda, *this);
}

}  // namespace midfill
