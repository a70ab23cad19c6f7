#include "tests/simt/planted.h"

#include <span>

#include "kernels/simt/simt.h"

namespace midfill::simt::test {
namespace {

constexpr int kThreads = 64;  // of each block here: two warps

// n floats 0, 1, 2, ... of global memory.
class Array {
 public:
  explicit Array(int n = kThreads)
      : data_(static_cast<float*>(allocate(n * sizeof(float)))), n_(n) {
    for (int i = 0; i < n; ++i) data_[i] = static_cast<float>(i);
  }
  ~Array() { release(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  operator float*() const { return data_; }

  // Whether element i is f(i), for all of them.
  template <typename F>
  bool holds(F f) const {
    for (int i = 0; i < n_; ++i)
      if (!(data_[i] == static_cast<float>(f(i)))) return false;
    return true;
  }

 private:
  float* data_;
  int n_;
};

// --- cp.async in two stages, as in attention and GEMM: thread t sums what a thread of the other
// warp has copied.

constexpr int kTiles = 6;
enum class PipelineBug { none, no_barrier_after_wait, wait_too_weak, no_barrier_before_refill };

__global__ void sum_tiles(const float* x, float* y, PipelineBug bug) {
  SIMT_SHARED(float, stages, [2][kThreads]);
  const int t = threadIdx.x;
  auto load = [&](int tile) {
    if (tile < kTiles) copy_async(&stages[tile & 1][t], x + tile * kThreads + t, 4, 4);
    copy_async_commit();
  };
  float sum = 0.0f;
  load(0);
  for (int tile = 0; tile < kTiles; ++tile) {
    load(tile + 1);
    copy_async_wait(bug == PipelineBug::wait_too_weak ? 2 : 1);
    if (bug != PipelineBug::no_barrier_after_wait) __syncthreads();
    sum += stages[tile & 1][t ^ 32];
    if (bug != PipelineBug::no_barrier_before_refill) __syncthreads();
  }
  copy_async_wait(0);
  y[t] = sum;
}
template <PipelineBug planted>
bool pipeline(bool bug) {
  const Array x(kTiles * kThreads), y;
  launch(1, kThreads, 0, [&] { sum_tiles(x, y, bug ? planted : PipelineBug::none); });
  return y.holds([](int t) { return kTiles * (t ^ 32) + kThreads * kTiles * (kTiles - 1) / 2; });
}

// --- Sums over a block by way of shared memory, twice.

enum class SumBug { none, no_barrier_after_write, no_barrier_before_reuse };

__device__ float warp_sum(float v) {
  SIMT_UNROLL
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(kFullMask, v, offset);
  return v;
}
__global__ void sum_twice(float* x, SumBug bug) {
  SIMT_SHARED(float, of_warps, [kThreads / 32]);
  const int t = threadIdx.x;
  float v = x[t];
  for (int round = 0; round < 2; ++round) {
    v = warp_sum(v);
    if (t % 32 == 0) of_warps[t / 32] = v;
    if (bug != SumBug::no_barrier_after_write) __syncthreads();
    v = of_warps[0] + of_warps[1];
    if (bug != SumBug::no_barrier_before_reuse) __syncthreads();
  }
  x[t] = v;
}
template <SumBug planted>
bool block_sum(bool bug) {
  const Array x;
  launch(1, kThreads, 0, [&] { sum_twice(x, bug ? planted : SumBug::none); });
  return x.holds([](int) { return kThreads * (kThreads * (kThreads - 1) / 2); });
}

// --- Single mistakes. Each kernel doubles x unless it says otherwise.

bool doubled(const Array& x) {
  return x.holds([](int i) { return 2 * i; });
}
template <auto kernel, int blocks = 1>
bool doubles(bool bug) {
  const Array x;
  launch(blocks, kThreads, kThreads * sizeof(float), [&] { kernel(x, bug); });
  return doubled(x);
}

__global__ void copy_read_by_others(float* x, bool bug) {
  float* row = dynamic_shared<float>();
  const int t = threadIdx.x;
  copy_async(row + t, x + t, 4, 4);
  copy_async_commit();
  copy_async_wait(0);
  if (!bug) __syncthreads();
  const float other = row[t ^ 32];
  __syncthreads();
  x[t ^ 32] = 2.0f * other;
}
__global__ void copy_without_wait(float* x, bool bug) {
  float* row = dynamic_shared<float>();
  const int t = threadIdx.x;
  copy_async(row + t, x + t, 4, 4);
  copy_async_commit();
  if (!bug) copy_async_wait(0);
  x[t] *= 2.0f;
}
__global__ void copy_of_too_much(float* x, bool bug) {
  float* row = dynamic_shared<float>();
  const int t = threadIdx.x;
  if (t % 4 == 0) copy_async(row + t + (bug ? 4 : 0), x + t, 16, 16);
  copy_async_commit();
  copy_async_wait(0);
  __syncthreads();
  x[t] += bug ? x[t] : row[t];
}
__global__ void copy_misaligned(float* x, bool bug) {
  float* row = dynamic_shared<float>();
  const int t = threadIdx.x;
  if (t % 4 == 0) copy_async(row + t, x + (bug && t ? t + 1 : t), 16, 16);
  copy_async_commit();
  copy_async_wait(0);
  __syncthreads();
  x[t] += row[t];
}
__global__ void source_changed_in_flight(float* x, bool bug) {
  float* row = dynamic_shared<float>();
  const int t = threadIdx.x;
  copy_async(row + t, x + t, 4, 4);
  copy_async_commit();
  if (!bug) copy_async_wait(0);
  __syncthreads();
  x[t ^ 1] = 0.0f;
  if (bug) copy_async_wait(0);
  __syncthreads();
  x[t] = 2.0f * row[t];
}

__global__ void exchange_in_warp(float* x, bool bug) {
  SIMT_SHARED(float, row, [kThreads]);
  const int t = threadIdx.x;
  row[t] = x[t];
  if (!bug) __syncwarp();
  const float other = row[t ^ 1];
  __syncthreads();
  x[t ^ 1] = 2.0f * other;
}
__global__ void shuffle_is_no_fence(float* x, bool bug) {
  SIMT_SHARED(float, row, [kThreads]);
  const int t = threadIdx.x;
  row[t] = 2.0f * x[t];
  (void)__shfl_sync(kFullMask, row[t], 0);
  if (!bug) __syncwarp();
  const float other = row[t ^ 1];
  __syncthreads();
  x[t ^ 1] = other;
}
__global__ void read_before_write(float* x, bool bug) {
  SIMT_SHARED(float, row, [kThreads]);
  const int t = threadIdx.x;
  if (t < (bug ? 32 : kThreads)) row[t] = x[t];
  __syncthreads();
  x[t] += row[t];
}

// Named barriers: warp 0 makes, warp 1 takes; two stages.
__global__ void hand_over(float* x, bool bug) {
  SIMT_SHARED(float, stages, [2][32]);
  constexpr int kFull = 1, kEmpty = 3;  // and the next, for stage 1
  constexpr int kRounds = 5;
  const int lane = threadIdx.x % 32;
  if (threadIdx.x < 32) {
    for (int i = 0; i < kRounds; ++i) {
      const int s = i % 2;
      if (i >= 2 && !bug) barrier_sync(kEmpty + s, kThreads);
      stages[s][lane] = static_cast<float>(i) * x[lane];
      barrier_arrive(kFull + s, kThreads);
    }
    x[lane] *= 2.0f;
  } else {
    float sum = 0.0f;
    for (int i = 0; i < kRounds; ++i) {
      const int s = i % 2;
      barrier_sync(kFull + s, kThreads);
      sum += stages[s][31 - lane];
      if (i + 2 < kRounds && !bug) barrier_arrive(kEmpty + s, kThreads);
    }
    // (0 + 1 + 2 + 3 + 4) (31 - lane), and 64 + 2 lane is wanted.
    x[32 + lane] = 64.0f + 2.0f * (31.0f - sum / 10.0f);
  }
}
__global__ void half_a_warp_at_barrier(float* x, bool bug) {
  if (!bug || threadIdx.x < 16 || threadIdx.x >= 48) barrier_sync(1, bug ? 32 : kThreads);
  x[threadIdx.x] *= 2.0f;
}
__global__ void barrier_of_other_size(float* x, bool bug) {
  barrier_sync(1, bug && threadIdx.x >= 32 ? 32 : kThreads);
  x[threadIdx.x] *= 2.0f;
}

__global__ void write_outside_static(float* x, bool bug) {
  SIMT_SHARED(float, row, [kThreads]);
  SIMT_SHARED(float, next, [kThreads]);
  const int t = threadIdx.x;
  next[t] = x[t];
  row[t + (bug ? 1 : 0)] = x[t];
  __syncthreads();
  x[t] += bug ? next[t] : row[t];
}
__global__ void read_outside_dynamic(float* x, bool bug) {
  float* row = dynamic_shared<float>();
  const int t = threadIdx.x;
  row[t] = x[t];
  __syncthreads();
  const float v = row[t + (bug ? 1 : 0)];
  if (v == v) x[t] *= 2.0f;
}
__global__ void write_outside_global(float* x, bool bug) {
  const int t = threadIdx.x;
  const float v = x[t];
  __syncthreads();
  x[t] = 2.0f * v;
  if (bug && t == kThreads - 1) x[t + 1] = 0.0f;
}
__global__ void write_before_global(float* x, bool bug) {
  const int t = threadIdx.x;
  x[t] *= 2.0f;
  if (bug && t == 0) x[t - 3] = 0.0f;
}
__global__ void read_outside_global(float* x, bool bug) {
  const int t = threadIdx.x;
  const float v = x[t + (bug && t == kThreads - 1 ? 1 : 0)];
  if (v == v || t == kThreads - 1) x[t] = 2.0f * static_cast<float>(t);
}
__global__ void index_outside_local(float* x, bool bug) {
  float v[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  const int n = bug ? 5 : 4;
  for (int i = 0; i < n; ++i) v[i] += x[threadIdx.x] * static_cast<float>(i);
  x[threadIdx.x] = 2.0f * (v[1] - 1.0f);
}
__global__ void misaligned_vector(float* x, bool bug) {
  SIMT_SHARED(float4, rows, [kThreads + 1]);
  rows[threadIdx.x] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (threadIdx.x == 0) rows[kThreads] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  __syncthreads();
  const float* row = &rows[threadIdx.x].x + (bug ? 1 : 0);
  const float4 v = *reinterpret_cast<const float4*>(row);
  x[threadIdx.x] = 2.0f * x[threadIdx.x] + (v.x + v.y + v.z + v.w);
}
__global__ void misaligned_copy(float* x, bool bug) {
  SIMT_SHARED(float4, rows, [kThreads + 1]);
  rows[threadIdx.x] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (threadIdx.x == 0) rows[kThreads] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  __syncthreads();
  const float* from = &rows[threadIdx.x].x + (bug ? 1 : 0);
  if (threadIdx.x % 4 == 0)
    *reinterpret_cast<float4*>(x + threadIdx.x) = *reinterpret_cast<const float4*>(from);
  __syncthreads();
  x[threadIdx.x] += 2.0f * static_cast<float>(threadIdx.x);
}
__global__ void shift_too_far(float* x, bool bug) {
  const int by = static_cast<int>(threadIdx.x) + (bug ? 1 : 0);
  if (threadIdx.x < 31) x[threadIdx.x] += static_cast<float>(((1 << by) >> by) * threadIdx.x);
  if (threadIdx.x == 31) x[31] += static_cast<float>((1u << by) != 7u ? 31 : 0);
  if (threadIdx.x > 31) x[threadIdx.x] *= 2.0f;
}

__global__ void barrier_at_two_places(float* x, bool bug) {
  if (bug && threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  x[threadIdx.x] *= 2.0f;
}
__global__ void barrier_of_half(float* x, bool bug) {
  if (!bug || threadIdx.x < 32) __syncthreads();
  x[threadIdx.x] *= 2.0f;
}
__global__ void early_return(float* x, bool bug) {
  x[threadIdx.x] *= 2.0f;
  if (bug && threadIdx.x >= 32) return;
  __syncthreads();
}
__global__ void shuffle_diverged(float* x, bool bug) {
  float v = x[threadIdx.x];
  if (!bug || threadIdx.x % 2 == 0) v += __shfl_xor_sync(kFullMask, v, 0);
  x[threadIdx.x] = v;
}
__global__ void shuffle_masks_differ(float* x, bool bug) {
  const unsigned mask = bug && threadIdx.x % 32 < 16 ? 0x1ffffu : kFullMask;
  float v = x[threadIdx.x];
  v += __shfl_sync(mask, v, static_cast<int>(threadIdx.x % 32));
  x[threadIdx.x] = v;
}
__global__ void shuffle_of_too_few(float* x, bool bug) {
  const unsigned mask = bug && threadIdx.x % 32 < 16 ? 0xffffu : kFullMask;
  float v = x[threadIdx.x];
  v += __shfl_sync(mask, v, static_cast<int>(threadIdx.x % 32));
  x[threadIdx.x] = v;
}
__global__ void shuffle_at_two_places(float* x, bool bug) {
  float v = x[threadIdx.x];
  if (bug && threadIdx.x % 2 == 0)
    v += __shfl_xor_sync(kFullMask, v, 0);
  else
    v += __shfl_xor_sync(kFullMask, v, 0);
  x[threadIdx.x] = v;
}
__global__ void not_in_own_mask(float* x, bool bug) {
  x[threadIdx.x] *= 2.0f;
  __syncwarp(bug ? 0x7fffffffu : kFullMask);
}
__global__ void shuffle_from_outside(float* x, bool bug) {
  const int lane = threadIdx.x % 32;
  const float v = x[threadIdx.x];
  if (lane < 16) {
    x[threadIdx.x] += __shfl_sync(0xffffu, v, bug ? 20 : lane);
  } else {
    x[threadIdx.x] += __shfl_sync(0xffff0000u, v, lane);
  }
}
// Like ldmatrix, without the matrix.
struct Row {
  const void* address;
};
void read_rows(Row* const* lanes, unsigned, const Site& site) {
  const void* rows[kWarp];
  for (int i = 0; i < kWarp; ++i) rows[i] = lanes[i]->address;
  matrix_access(rows, 4, Access::read, site);
}
__global__ void matrix_row_misaligned(float* x, bool bug) {
  SIMT_SHARED(float4, rows, [kThreads + 1]);
  rows[threadIdx.x] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  __syncthreads();
  Row row{&rows[threadIdx.x].x + (bug ? 1 : 0)};
  warp_collective<read_rows>(kFullMask, "ldmatrix", row, Site::current());
  x[threadIdx.x] *= 2.0f;
}
__global__ void matrix_row_outside(float* x, bool bug) {
  SIMT_SHARED(float4, rows, [kThreads]);
  rows[threadIdx.x] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  __syncthreads();
  Row row{&rows[0].x + 4 * (threadIdx.x + (bug ? 1 : 0))};
  warp_collective<read_rows>(kFullMask, "ldmatrix", row, Site::current());
  x[threadIdx.x] *= 2.0f;
}
__global__ void matrix_read_unordered(float* x, bool bug) {
  SIMT_SHARED(float4, rows, [kThreads]);
  rows[threadIdx.x ^ 1] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (!bug) __syncthreads();
  Row row{&rows[threadIdx.x]};
  warp_collective<read_rows>(kFullMask, "ldmatrix", row, Site::current());
  x[threadIdx.x] *= 2.0f;
}

// --- Global memory: x[0] becomes a sum.

__global__ void add_in_block(float* x, bool bug) {
  if (bug)
    x[0] += 1.0f;
  else
    atomicAdd(x, 1.0f);
}
__global__ void add_over_blocks(float* x, bool bug) {
  if (threadIdx.x != 0) return;
  if (bug)
    x[0] += 1.0f;
  else
    atomicAdd(x, 1.0f);
}
__global__ void read_while_others_add(float* x, bool bug) {
  atomicAdd(x, 1.0f);
  if (!bug) __syncthreads();
  if (threadIdx.x == 0 && blockIdx.x == 0) x[1] = bug ? x[0] : 1.0f;
}
template <auto kernel, int blocks, int sum>
bool sums(bool bug) {
  const Array x(2);
  launch(blocks, kThreads, 0, [&] { kernel(x, bug); });
  return x[0] == static_cast<float>(sum);
}
// One block writes what another reads.
__global__ void read_of_other_block(float* x, bool bug) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const float v = x[bug ? i ^ kThreads : i];
  x[i] = 2.0f * v;
}
bool across_blocks(bool bug) {
  const Array x(2 * kThreads);
  launch(2, kThreads, 0, [&] { read_of_other_block(x, bug); });
  return doubled(x);
}

}  // namespace

Mode built_mode() {
#if defined(__SANITIZE_THREAD__)
  return Mode::race;
#elif defined(__SANITIZE_ADDRESS__)
  return Mode::asan;
#else
  return Mode::plain;
#endif
}

const std::vector<Planted>& planted_bugs() {
  static const std::vector<Planted> bugs = {
      {"no_barrier_after_wait", pipeline<PipelineBug::no_barrier_after_wait>, kWrong,
       "planted.cu:.* reads shared memory (while the copy|that was never|that thread .* writes)",
       kMissed},
      {"wait_too_weak", pipeline<PipelineBug::wait_too_weak>, kWrong,
       "reads shared memory while the copy that thread .* planted.cu:.* is in flight", kMissed},
      {"no_barrier_before_refill", pipeline<PipelineBug::no_barrier_before_refill>, kSometimesWrong,
       "shared memory (while the copy|that thread .* reads)", kMissed},
      {"no_barrier_after_write", block_sum<SumBug::no_barrier_after_write>, kWrong,
       "reads shared memory that (was never written|thread .* writes)", kMissed},
      {"no_barrier_before_reuse", block_sum<SumBug::no_barrier_before_reuse>, kSometimesWrong,
       "shared memory that thread .* (reads|writes) at planted.cu", kMissed},
      {"copy_read_by_others", doubles<copy_read_by_others>, kWrong,
       "reads shared memory that (was never written|thread .* writes)", kMissed},
      {"copy_without_wait", doubles<copy_without_wait>, "planted.cu:.* still in flight when thread",
       "planted.cu:.* still in flight when thread", kMissed},
      {"copy_of_too_much", doubles<copy_of_too_much>, "cp.async to an address outside",
       "cp.async to an address outside", kMissed},
      {"copy_misaligned", doubles<copy_misaligned>, "not a multiple of 16", "not a multiple of 16",
       kMissed},
      {"source_changed_in_flight", doubles<source_changed_in_flight>, kWrong,
       "global memory that thread .* (reads|writes)", kMissed},
      {"no_syncwarp", doubles<exchange_in_warp>, kWrong,
       "shared memory that (was never written|thread)", kMissed},
      {"shuffle_is_no_fence", doubles<shuffle_is_no_fence>, kMissed,
       "shared memory that thread .* writes", kMissed},
      {"read_before_write", doubles<read_before_write>, kWrong,
       "thread (32|63|..) reads shared memory that was never written", kMissed},
      {"hand_over_without_barrier", doubles<hand_over>, kSometimesWrong,
       "shared memory that thread .* (reads|writes)|twice", kMissed},
      {"half_a_warp_at_barrier", doubles<half_a_warp_at_barrier>, "by some lanes of warp",
       "by some lanes of warp", kMissed},
      {"barrier_of_other_size", doubles<barrier_of_other_size>,
       "expects (32|64) threads here|deadlock: threads 0-31 wait in a named barrier",
       "expects (32|64) threads here|deadlock: threads 0-31 wait in a named barrier", kMissed},
      {"write_outside_static", doubles<write_outside_static>,
       "write outside of every shared variable", "planted.cu:.* outside of every shared variable",
       "out of bounds|use-after-poison"},
      {"read_outside_dynamic", doubles<read_outside_dynamic>, kWrong,
       "planted.cu:.* outside of every shared variable", "use-after-poison"},
      {"write_outside_global", doubles<write_outside_global>, "behind the last of the 256 bytes",
       "planted.cu:.* outside of a global buffer", "use-after-poison"},
      {"write_before_global", doubles<write_before_global>, "before the first of the 256 bytes",
       "planted.cu:.* outside of a global buffer", "use-after-poison"},
      {"read_outside_global", doubles<read_outside_global>, kMissed,
       "planted.cu:.* outside of a global buffer", "use-after-poison"},
      {"index_outside_local", doubles<index_outside_local>, kMissed, kMissed,
       "index 4 out of bounds|insufficient space"},
      {"misaligned_vector", doubles<misaligned_vector>, kMissed, kMissed, "misaligned address"},
      {"misaligned_copy", doubles<misaligned_copy>, kMissed, "not a multiple of 16",
       "misaligned address"},
      {"shift_too_far", doubles<shift_too_far>, kMissed, kMissed, "shift exponent 32"},
      {"barrier_at_two_places", doubles<barrier_at_two_places>,
       "planted.cu:.* at this __syncthreads while others wait in that of planted.cu",
       "at this __syncthreads while others wait", kMissed},
      {"barrier_of_half", doubles<barrier_of_half>,
       "deadlock: threads 0-31 wait in __syncthreads .planted.cu:.*, threads 32-63 have ended",
       "deadlock: threads 0-31 wait", kMissed},
      {"early_return", doubles<early_return>,
       "deadlock: threads 0-31 wait in __syncthreads .planted.cu:.*, threads 32-63 have ended",
       "deadlock: threads 0-31 wait", kMissed},
      {"shuffle_diverged", doubles<shuffle_diverged>,
       "deadlock: threads 0-0 wait in __shfl_xor_sync .planted.cu:.*, threads 1-1 have ended",
       "deadlock", kMissed},
      {"shuffle_masks_differ", doubles<shuffle_masks_differ>,
       "planted.cu:.* lane .* others of its warp wait in __shfl_sync .planted.cu:.* with mask 0x",
       "others of its warp wait", kMissed},
      {"shuffle_of_too_few", doubles<shuffle_of_too_few>,
       "deadlock: threads 0-15 have ended, threads 16-31 wait in __shfl_sync", "deadlock", kMissed},
      {"shuffle_at_two_places", doubles<shuffle_at_two_places>,
       "planted.cu:.* lane .* others of its warp wait in __shfl_xor_sync",
       "others of its warp wait", kMissed},
      {"not_in_own_mask", doubles<not_in_own_mask>, "lane 31 is not in its own mask 0x7fffffff",
       "lane 31 is not in its own mask 0x7fffffff", kMissed},
      {"shuffle_from_outside", doubles<shuffle_from_outside>,
       "planted.cu:.* shuffles from lane 20, which takes no part", "which takes no part", kMissed},
      {"matrix_row_misaligned", doubles<matrix_row_misaligned>,
       "planted.cu:.* lane 0: a matrix row that is not 16-byte aligned", "not 16-byte aligned",
       kMissed},
      {"matrix_row_outside", doubles<matrix_row_outside>,
       "planted.cu:.* lane 31: a matrix row outside of every shared variable",
       "lane 31: a matrix row outside", kMissed},
      {"matrix_read_unordered", doubles<matrix_read_unordered>, kMissed,
       "reads shared memory that (was never written|thread .* writes)", kMissed},
      {"add_in_block", sums<add_in_block, 1, 64>, kMissed,
       "global memory that thread .* writes at planted.cu", kMissed},
      {"add_over_blocks", sums<add_over_blocks, 4, 4>, kMissed,
       "global memory that thread 0 of another block writes", kMissed},
      {"read_while_others_add", sums<read_while_others_add, 2, 128>, kMissed,
       "reads global memory that (thread .*|another block) updates|global memory that .* reads",
       kMissed},
      {"read_of_other_block", across_blocks, kWrong,
       "global memory that (thread .* of another block writes|another block reads)", kMissed},
  };
  return bugs;
}

}  // namespace midfill::simt::test
