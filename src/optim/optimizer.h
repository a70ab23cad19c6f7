// AdamW over the parameter table: moments, clipping, the learning-rate schedule.
#pragma once

#include <cstdint>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "src/config/config.h"
#include "src/model/gpt.h"

namespace midfill {

// Steps of the warm-up: config.warmup_steps, or, where that is 0, max(1, warmup * total); 0 where
// warmup is 0 as well.
int64_t warmup_steps(const OptimConfig& config, int64_t total);

// Learning rate of the update that makes step `step` (counts from 1) of `total`: linear warm-up
// from 0, then the schedule, which reaches lr * min_lr_ratio at `total`.
double learning_rate(const OptimConfig& config, int64_t step, int64_t total);

// Moments and everything that an update needs to know are in memory of the device, so that whole
// steps can be enqueued there: what is called enqueue_ does not wait.
class Optimizer {
 public:
  Optimizer(const OptimConfig& config, Gpt& model);

  // sum_squares() = sum of grads^2.
  void enqueue_norm();
  // One update with the norm of the last enqueue_norm(), which is
  // sqrt(sum_squares()) / total_weight: gradients of norm `clip` at most, AdamW with `lr`. Where a
  // loss or the norm is not finite nothing changes, the count of updates included.
  void enqueue_adamw(double lr, double total_weight);
  // Both.
  void enqueue_update(double lr, double total_weight);

  // Global L2 norm of grads / total_weight, as one update would see it before clipping. Waits.
  double grad_norm(double total_weight);

  Tensor sum_squares() const { return sum_squares_; }    // (1) f64
  Tensor update_count() const { return update_count_; }  // (1) i32, of the updates applied
  int64_t updates() const;                               // waits
  void set_updates(int64_t n);                           // waits
  Tensor m() const { return m_; }                        // flat f32, layout of the parameter arena
  Tensor v() const { return v_; }

 private:
  OptimConfig config_;
  Gpt* model_;
  std::vector<DecaySpan> decay_;
  Buffer moments_, scalars_;
  Tensor m_, v_, sum_squares_, update_count_;
};

}  // namespace midfill
