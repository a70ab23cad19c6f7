#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/vecmath.h"

namespace midfill {

namespace {

constexpr int64_t kBlock = 1024;  // columns summed in f32 before the sum goes to f64

float largest(const float* row, int64_t n) {
  float max = row[0];
#pragma omp simd reduction(max : max)
  for (int64_t v = 0; v < n; ++v) max = row[v] > max ? row[v] : max;
  return max;
}

// sum of exp(row - max); keeps the terms in `terms` unless it is null. `terms` may be `row`.
double sum_exp(const float* row, float max, int64_t n, float* terms) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    float sum = 0;
    if (terms) {
#pragma omp simd reduction(+ : sum)
      for (int64_t v = begin; v < end; ++v) {
        const float term = fast_exp(row[v] - max);
        terms[v] = term;
        sum += term;
      }
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t v = begin; v < end; ++v) sum += fast_exp(row[v] - max);
    }
    total += static_cast<double>(sum);
  }
  return total;
}

}  // namespace

void CrossEntropy::check() const {
  const char* op = "CrossEntropy";
  expect_float(logits, op, "logits", 2);
  const int64_t N = logits.dim(0), Vp = logits.dim(1);
  expect(loss, op, "loss", DType::f32, {N});
  expect(targets, op, "targets", DType::i32, {N});
  expect(weights, op, "weights", DType::f32, {N});
  require(1 <= vocab && vocab <= Vp,
          "CrossEntropy: vocab is {}, expected 1 to {}, the columns of logits", vocab, Vp);
  expect_apart(op, loss, "loss", logits, "logits");
  expect_apart(op, loss, "loss", weights, "weights");
  if (dlogits) {
    const bool narrows = logits.dtype() == DType::f32 && dlogits.dtype() == DType::bf16;
    expect(dlogits, op, "dlogits", narrows ? DType::bf16 : logits.dtype(), {N, Vp});
    if (narrows)
      expect_apart(op, dlogits, "dlogits", logits, "logits");
    else
      expect_same_or_apart(op, dlogits, "dlogits", logits, "logits");
    expect_apart(op, dlogits, "dlogits", loss, "loss");
    expect_apart(op, dlogits, "dlogits", weights, "weights");
    expect_apart(op, dlogits, "dlogits", targets, "targets");
  }
  if (nonfinite) expect(nonfinite, op, "nonfinite", DType::i32, {1});
}

void CrossEntropy::run(Cpu& cpu) const {
  const int64_t N = logits.dim(0), Vp = logits.dim(1);
  const float *scores = logits.as<float>(), *weight = weights.as<float>();
  const int32_t* target = targets.as<int32_t>();
  float* out = loss.as<float>();
  float* grads = dlogits ? dlogits.as<float>() : nullptr;
  for (int64_t n = 0; n < N; ++n)
    require(weight[n] == 0 || (0 <= target[n] && target[n] < vocab),
            "CrossEntropy: targets[{}] is {}, expected 0 to {}", n, target[n], vocab - 1);

  parallel_ranges(cpu, N, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* row = scores + n * Vp;
      float* grad = grads ? grads + n * Vp : nullptr;
      if (weight[n] == 0) {
        out[n] = 0;
        if (grad) std::fill(grad, grad + Vp, 0.0f);
        continue;
      }
      const float max = largest(row, vocab);
      const float score = row[target[n]];  // before the gradient takes its place
      const double sum = sum_exp(row, max, vocab, grad);
      out[n] = static_cast<float>(std::log(sum) +
                                  (static_cast<double>(max) - static_cast<double>(score)));
      if (!grad) continue;
      const float scale = static_cast<float>(static_cast<double>(weight[n]) / sum);
#pragma omp simd
      for (int64_t v = 0; v < vocab; ++v) grad[v] *= scale;
      grad[target[n]] -= weight[n];
      std::fill(grad + vocab, grad + Vp, 0.0f);
    }
  });
  if (nonfinite && !std::all_of(out, out + N, [](float value) { return std::isfinite(value); }))
    *nonfinite.as<int32_t>() = 1;
}

}  // namespace midfill
