#include <math.h>

#include <algorithm>

#include "kernels/adamw.h"
#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/vector8.cuh"

namespace midfill {

namespace {

constexpr int kThreads = 256, kBlocksPerMultiprocessor = 4;

// What the device decides about an update.
struct Step {
  bool apply;
  float grad_scale;
  float rate;     // lr over the bias correction of m
  float v_scale;  // 1 over the bias correction of v
};

struct Span {
  int64_t begin, end;
  float shrink;  // lr * weight_decay
};
// The spans travel as arguments of a kernel, which may have 4 KB: no copy, nothing to wait for.
struct SpanBatch {
  static constexpr int kSize = 128;
  Span spans[kSize];
};

struct Arenas {
  float *params, *m, *v;
  __nv_bfloat16* weights;  // or null
  const float* grads;
  int64_t n;
};

struct Scalars {
  float beta1, beta2, eps;
};

__global__ void __launch_bounds__(SpanBatch::kSize)
    store_spans(const __grid_constant__ SpanBatch batch, int count, Span* to) {
  const int i = threadIdx.x;
  if (i < count) to[i] = batch.spans[i];
}

// One thread.
__global__ void decide(const double* sum_squares, const int* nonfinite, int* updates,
                       double total_weight, double clip, float lr, Scalars s, Step* step) {
  const double norm = sqrt(*sum_squares) / total_weight;
  if (!isfinite(norm) || (nonfinite && *nonfinite != 0)) {
    step->apply = false;
    return;
  }
  const int count = *updates + 1;
  *updates = count;
  const double shrunk = clip > 0.0 && norm > clip ? clip / norm : 1.0;
  const double correction_1 = 1 - pow(static_cast<double>(s.beta1), static_cast<double>(count));
  const double correction_2 = 1 - pow(static_cast<double>(s.beta2), static_cast<double>(count));
  step->apply = true;
  step->grad_scale = static_cast<float>(shrunk / total_weight);
  step->rate = static_cast<float>(static_cast<double>(lr) / correction_1);
  step->v_scale = static_cast<float>(1 / correction_2);
}

__device__ __forceinline__ void update_one(float& p, float& m, float& v, float grad, float shrink,
                                           const Step& step, const Scalars& s) {
  const float g = step.grad_scale * grad;
  m = s.beta1 * m + (1 - s.beta1) * g;
  v = s.beta2 * v + (1 - s.beta2) * g * g;
  p -= shrink * p + step.rate * (m / (sqrtf(v * step.v_scale) + s.eps));
}

// Blocks walk over the arenas together, each thread eight elements at a time; the spans that it
// meets are ascending.
__global__ void __launch_bounds__(kThreads)
    update(Arenas a, Scalars s, const Step* decided, const Span* spans, int span_count) {
  const Step step = *decided;
  if (!step.apply) return;
  const int64_t stride = int64_t{8} * kThreads * gridDim.x;
  Span span{0, 0, 0.0f};
  int next = 0;
  for (int64_t i = 8 * (int64_t{blockIdx.x} * kThreads + threadIdx.x); i < a.n; i += stride) {
    while (span.end <= i && next < span_count) span = spans[next++];
    if (span.begin <= i && i + 8 <= span.end) {
      float p[8], m[8], v[8], g[8];
      load8(g, a.grads + i);
      load8(m, a.m + i);
      load8(v, a.v + i);
      load8(p, a.params + i);
      SIMT_UNROLL
      for (int k = 0; k < 8; ++k) update_one(p[k], m[k], v[k], g[k], span.shrink, step, s);
      store8(a.m + i, m);
      store8(a.v + i, v);
      store8(a.params + i, p);
      if (a.weights) store8(a.weights + i, p);
      continue;
    }
    // A border of spans, or the end.
    for (int64_t j = i; j < i + 8; ++j) {
      while (span.end <= j && next < span_count) span = spans[next++];
      if (j < span.begin || span.end <= j) continue;
      update_one(a.params[j], a.m[j], a.v[j], a.grads[j], span.shrink, step, s);
      if (a.weights) a.weights[j] = __nv_bfloat16(a.params[j]);
    }
  }
}

// Neighbours of the same decay become one; returns how many spans there are in the end.
int upload_spans(Cuda& cuda, const AdamW& op, Span* to) {
  SpanBatch batch{};
  int stored = 0, count = 0;
  const auto flush = [&] {
    launch<store_spans>({.grid = 1, .block = SpanBatch::kSize, .stream = stream_of(cuda)}, batch,
                        count, to + stored);
    stored += count;
    count = 0;
  };
  for (const DecaySpan& span : op.decay) {
    const float shrink = op.lr * span.weight_decay;
    if (span.begin == span.end) continue;
    if (count > 0 && batch.spans[count - 1].end == span.begin &&
        batch.spans[count - 1].shrink == shrink) {
      batch.spans[count - 1].end = span.end;
      continue;
    }
    if (count == SpanBatch::kSize) flush();
    batch.spans[count++] = {span.begin, span.end, shrink};
  }
  if (count > 0) flush();
  return stored;
}

}  // namespace

void AdamW::run(Cuda& cuda) const {
  require_aligned("AdamW", "params", params);
  require_aligned("AdamW", "weights", weights);
  require_aligned("AdamW", "m", m);
  require_aligned("AdamW", "v", v);
  require_aligned("AdamW", "grads", grads);
  const Stream stream = stream_of(cuda);
  auto* step = static_cast<Step*>(cuda.workspace(sizeof(Step) + decay.size() * sizeof(Span)));
  auto* spans = reinterpret_cast<Span*>(step + 1);
  const Scalars scalars{beta1, beta2, eps};
  const int span_count = upload_spans(cuda, *this, spans);
  launch<decide>({.grid = 1, .block = 1, .stream = stream}, sum_squares.as<double>(),
                 nonfinite ? nonfinite.as<int32_t>() : nullptr, updates.as<int32_t>(), total_weight,
                 clip, lr, scalars, step);
  const Arenas arenas{params.as<float>(), m.as<float>(),
                      v.as<float>(),      weights ? weights.as<__nv_bfloat16>() : nullptr,
                      grads.as<float>(),  params.dim(0)};
  const unsigned blocks =
      std::min(blocks_of(arenas.n, 8 * kThreads),
               static_cast<unsigned>(cuda.multiprocessors() * kBlocksPerMultiprocessor));
  launch<update>({.grid = blocks, .block = kThreads, .stream = stream}, arenas, scalars, step,
                 spans, span_count);
}

}  // namespace midfill
