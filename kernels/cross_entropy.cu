// A block has a row. Its threads go over it twice, each over the same columns: first for the
// maximum and the sum of exponentials together, then, in reverse order, for the gradient: what was
// read last is still in L2, where the rows under way take 26 MB (264 blocks of 50304 columns in
// bf16). Between the passes there is one barrier.
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cfloat>
#include <cstdint>

#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/ptx.h"
#include "kernels/common/vector8.cuh"
#include "kernels/common/warp_sums.cuh"

namespace midfill {

namespace {

constexpr int kMaxThreads = 512, kMaxWarps = kMaxThreads / 32;
constexpr int kAtOnce = 4;  // vectors whose loads a thread issues together

// exp(x) for x <= 0, of a relative error of at most |x| * 2^-24 + 2^-22.
__device__ __forceinline__ float exp_of(float x) {
  constexpr float kLog2E = 1.44269504f;
  return ptx::ex2(x * kLog2E);
}

// sum = sum of exp(x - max) over the elements so far.
struct Softmax {
  // Not -inf, which would make NaN of an element that is.
  float max = -FLT_MAX, sum = 0;

  // The first `columns` of x.
  __device__ __forceinline__ void add(const float (&x)[8], int columns) {
    float top = max;
    SIMT_UNROLL
    for (int j = 0; j < 8; ++j)
      if (j < columns) top = fmaxf(top, x[j]);
    if (top > max) {
      sum *= exp_of(max - top);
      max = top;
    }
    float part = 0;
    SIMT_UNROLL
    for (int j = 0; j < 8; ++j)
      if (j < columns) part += exp_of(x[j] - max);
    sum += part;
  }
};

// Over the block; the same bits in every thread. Contains one barrier.
__device__ __forceinline__ Softmax combine(const Softmax& mine) {
  SIMT_SHARED(float2, shared, [kMaxWarps]);
  float max = mine.max;
  SIMT_UNROLL
  for (int bits = 16; bits > 0; bits /= 2)
    max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, bits));
  const float sum = warp_sum(mine.sum * exp_of(mine.max - max));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = make_float2(max, sum);
  __syncthreads();
  Softmax all;
  const int warps = blockDim.x / 32;
  for (int w = 0; w < warps; ++w) all.max = fmaxf(all.max, shared[w].x);
  for (int w = 0; w < warps; ++w) all.sum += shared[w].y * exp_of(shared[w].x - all.max);
  return all;
}

template <typename L, typename D>
__global__ void __launch_bounds__(kMaxThreads, 2)
    cross_entropy_rows(float* loss, D* dlogits, int32_t* nonfinite, const L* logits,
                       const int32_t* targets, const float* weights, int vocab, int Vp) {
  const int64_t n = blockIdx.x;
  const int vectors = Vp / 8, threads = blockDim.x, me = threadIdx.x;
  const L* row = logits + n * Vp;
  D* grad = dlogits ? dlogits + n * Vp : nullptr;
  const float weight = weights[n];
  if (weight == 0) {
    if (me == 0) loss[n] = 0;
    const float zeros[8] = {};
    if (grad)
      for (int v = me; v < vectors; v += threads) store8(grad + 8 * v, zeros);
    return;
  }

  const int target = targets[n];
  const bool known = 0 <= target && target < vocab;
  // Read by the thread that needs it, before the barrier: behind that the gradient takes its place.
  float score = __int_as_float(0x7fc00000);  // NaN
  if (me == 0 && known) score = static_cast<float>(row[target]);

  // Calls body(v, x) for the thread's vectors from round `first` on, kAtOnce rounds.
  const auto for_some = [&](int first, const auto& body) {
    float x[kAtOnce][8] = {};
    SIMT_UNROLL
    for (int u = 0; u < kAtOnce; ++u) {
      const int v = (first + u) * threads + me;
      if (v < vectors) load8(x[u], row + 8 * v);
    }
    SIMT_UNROLL
    for (int u = 0; u < kAtOnce; ++u) {
      const int v = (first + u) * threads + me;
      if (v < vectors) body(v, x[u]);
    }
  };
  const int rounds = (vectors + threads - 1) / threads;
  Softmax softmax;
  for (int first = 0; first < rounds; first += kAtOnce)
    for_some(first, [&](int v, const float(&x)[8]) {
      if (8 * v + 8 <= vocab)
        softmax.add(x, 8);
      else
        softmax.add(x, vocab - 8 * v);
    });
  softmax = combine(softmax);

  if (me == 0) {
    const float value = logf(softmax.sum) + (softmax.max - score);
    loss[n] = value;
    if (nonfinite && !(fabsf(value) <= FLT_MAX)) atomicExch(nonfinite, 1);
  }
  if (!grad) return;
  const float scale = known ? weight / softmax.sum : __int_as_float(0x7fc00000);
  for (int first = (rounds - 1) / kAtOnce * kAtOnce; first >= 0; first -= kAtOnce)
    for_some(first, [&](int v, const float(&x)[8]) {
      float g[8];
      SIMT_UNROLL
      for (int j = 0; j < 8; ++j) g[j] = exp_of(x[j] - softmax.max) * scale;
      if (v == target / 8) {
        SIMT_UNROLL
        for (int j = 0; j < 8; ++j)
          if (8 * v + j == target) g[j] -= weight;
      }
      if (8 * v + 8 > vocab) {
        SIMT_UNROLL
        for (int j = 0; j < 8; ++j)
          if (8 * v + j >= vocab) g[j] = 0;
      }
      store8(grad + 8 * v, g);
    });
}

template <typename L, typename D>
void run_as(Cuda& cuda, const CrossEntropy& op) {
  const int64_t N = op.logits.dim(0), Vp = op.logits.dim(1);
  const unsigned threads = 32 * std::min(blocks_of(Vp, 8 * 32), unsigned{kMaxWarps});
  launch<cross_entropy_rows<L, D>>(
      {.grid = static_cast<unsigned>(N), .block = threads, .stream = stream_of(cuda)},
      op.loss.as<float>(), op.dlogits ? op.dlogits.as<D>() : nullptr,
      op.nonfinite ? op.nonfinite.as<int32_t>() : nullptr, op.logits.as<L>(),
      op.targets.as<int32_t>(), op.weights.as<float>(), op.vocab, Vp);
}

}  // namespace

void CrossEntropy::run(Cuda& cuda) const {
  require_multiple_of_8("CrossEntropy", "width", logits.dim(1));
  if (logits.dtype() == DType::bf16)
    run_as<__nv_bfloat16, __nv_bfloat16>(cuda, *this);
  else if (dlogits && dlogits.dtype() == DType::bf16)
    run_as<float, __nv_bfloat16>(cuda, *this);
  else
    run_as<float, float>(cuda, *this);
}

}  // namespace midfill
