#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/optim/optimizer.h"

namespace midfill {

namespace {

// A share of all steps, in steps: at least one unless the share is 0.
int64_t share_of(double share, int64_t total) {
  if (share <= 0.0) return 0;
  return std::max<int64_t>(1, std::llround(share * static_cast<double>(total)));
}

// Share of the way from min_lr_ratio (0) to 1 (1) at `step` after the warm-up.
double height(const OptimConfig& config, int64_t step, int64_t warmup, int64_t total) {
  const auto progress = [&](int64_t from) {
    return static_cast<double>(step - from) /
           static_cast<double>(std::max<int64_t>(total - from, 1));
  };
  switch (config.schedule) {
    case Schedule::cosine:
      return 0.5 * (1.0 + std::cos(std::numbers::pi * progress(warmup)));
    case Schedule::linear:
      return 1.0 - progress(warmup);
    case Schedule::constant:
      return 1.0;
    case Schedule::wsd: {
      const int64_t decay = share_of(config.decay, total);
      const int64_t stable_end = std::max(warmup, total - decay);
      return step <= stable_end ? 1.0 : 1.0 - progress(stable_end);
    }
  }
  fail("unknown learning-rate schedule {}", static_cast<int>(config.schedule));
}

}  // namespace

int64_t warmup_steps(const OptimConfig& config, int64_t total) {
  return config.warmup_steps > 0 ? config.warmup_steps : share_of(config.warmup, total);
}

double learning_rate(const OptimConfig& config, int64_t step, int64_t total) {
  require(step >= 1 && total >= 1, "learning_rate: step {} of {}", step, total);
  step = std::min(step, total);
  const int64_t warmup = warmup_steps(config, total);
  if (step <= warmup) return config.lr * static_cast<double>(step) / static_cast<double>(warmup);
  // lerp is exact at both ends.
  return config.lr * std::lerp(config.min_lr_ratio, 1.0, height(config, step, warmup, total));
}

}  // namespace midfill
