#include "kernels/adamw.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "kernels/common/parallel.h"

namespace midfill {

void AdamW::check() const {
  const char* op = "AdamW";
  expect_rank(params, op, "params", DType::f32, 1);
  const int64_t n = params.dim(0);
  if (weights) expect(weights, op, "weights", DType::bf16, {n});
  expect(m, op, "m", DType::f32, {n});
  expect(v, op, "v", DType::f32, {n});
  expect(updates, op, "updates", DType::i32, {1});
  expect(grads, op, "grads", DType::f32, {n});
  expect(sum_squares, op, "sum_squares", DType::f64, {1});
  if (nonfinite) expect(nonfinite, op, "nonfinite", DType::i32, {1});
  const std::pair<const char*, const Tensor*> operands[] = {{"params", &params},
                                                            {"weights", &weights},
                                                            {"m", &m},
                                                            {"v", &v},
                                                            {"updates", &updates},
                                                            {"grads", &grads},
                                                            {"sum_squares", &sum_squares},
                                                            {"nonfinite", &nonfinite}};
  for (size_t i = 0; i < std::size(operands); ++i)
    for (size_t k = i + 1; k < std::size(operands); ++k)
      expect_apart(op, *operands[i].second, operands[i].first, *operands[k].second,
                   operands[k].first);
  require(total_weight > 0.0 && std::isfinite(total_weight),
          "AdamW: total_weight is {}, expected more than 0", total_weight);
  require(clip >= 0.0 && std::isfinite(clip), "AdamW: clip is {}, expected at least 0", clip);
  require(0 <= beta1 && beta1 < 1 && 0 <= beta2 && beta2 < 1,
          "AdamW: beta1 is {}, beta2 is {}, expected both in [0, 1)", beta1, beta2);
  int64_t end = 0;
  for (size_t i = 0; i < decay.size(); ++i) {
    require(end <= decay[i].begin && decay[i].begin <= decay[i].end && decay[i].end <= n,
            "AdamW: decay[{}] is [{}, {}), expected ascending, disjoint and within {}", i,
            decay[i].begin, decay[i].end, n);
    end = decay[i].end;
  }
}

void AdamW::run(Cpu& cpu) const {
  const double norm = std::sqrt(*sum_squares.as<double>()) / total_weight;
  if (!std::isfinite(norm) || (nonfinite && *nonfinite.as<int32_t>() != 0)) return;
  const int32_t step = ++*updates.as<int32_t>();
  const double shrunk = clip > 0.0 && norm > clip ? clip / norm : 1.0;
  const auto grad_scale = static_cast<float>(shrunk / total_weight);
  const double correction_1 = 1 - std::pow(static_cast<double>(beta1), step);
  const double correction_2 = 1 - std::pow(static_cast<double>(beta2), step);
  const auto rate = static_cast<float>(static_cast<double>(lr) / correction_1);
  const auto v_scale = static_cast<float>(1 / correction_2);
  const float rest1 = 1 - beta1, rest2 = 1 - beta2;
  const float* g_all = grads.as<float>();
  float *p = params.as<float>(), *m_all = m.as<float>(), *v_all = v.as<float>();
  Bf16* narrow = weights ? weights.as<Bf16>() : nullptr;
  parallel_ranges(cpu, params.dim(0), 4096, [&](int64_t first, int64_t last) {
    for (const DecaySpan& span : decay) {
      const int64_t begin = std::max(first, span.begin), end = std::min(last, span.end);
      const float shrink = lr * span.weight_decay;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const float g = grad_scale * g_all[i];
        const float m_i = beta1 * m_all[i] + rest1 * g;
        const float v_i = beta2 * v_all[i] + rest2 * g * g;
        m_all[i] = m_i;
        v_all[i] = v_i;
        // Decay is part of the update, not a factor near 1 whose rounding would be as large as the
        // decay itself.
        p[i] -= shrink * p[i] + rate * (m_i / (std::sqrt(v_i * v_scale) + eps));
      }
      if (narrow)
        for (int64_t i = begin; i < end; ++i) narrow[i] = Bf16(p[i]);
    }
  });
}

}  // namespace midfill
