// AdamW over the parameter table: moments, clipping, the learning-rate schedule.
#pragma once

#include <cstdint>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "src/config/config.h"
#include "src/model/gpt.h"

namespace midfill {

// Learning rate of the update that makes step `step` (counts from 1) of `total`: linear warm-up
// from 0 over max(1, warmup * total) steps (none when warmup is 0), then the schedule, which
// reaches lr * min_lr_ratio at `total`.
double learning_rate(const OptimConfig& config, int64_t step, int64_t total);

class Optimizer {
 public:
  Optimizer(const OptimConfig& config, Gpt& model);

  // Global L2 norm of grads / total_weight, as one update would see it before clipping.
  double grad_norm(double total_weight);
  // One update: clip to config.clip by `norm`, AdamW with `lr`. `updates` counts from 1 and skips
  // skipped steps.
  void update(double lr, double norm, double total_weight);

  int64_t updates() const { return updates_; }
  void set_updates(int64_t n) { updates_ = n; }
  Tensor m() const { return m_; }  // flat f32, layout of the parameter arena
  Tensor v() const { return v_; }

 private:
  OptimConfig config_;
  Gpt* model_;
  std::vector<DecaySpan> decay_;
  Buffer memory_;
  Tensor m_, v_;
  int64_t updates_ = 0;
};

}  // namespace midfill
