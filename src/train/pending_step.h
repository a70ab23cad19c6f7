// A step between the moment when all of its work is enqueued and its record.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "src/data/loader.h"
#include "src/model/gpt.h"
#include "src/optim/optimizer.h"
#include "src/train/run_log.h"

namespace midfill {

// Owns the host memory that a step of (rows, n_ctx) tokens reads and writes on its way through the
// device, so that the next step can be prepared meanwhile: the batch, the losses, and what the
// optimizer reports.
class PendingStep {
 public:
  PendingStep(int64_t rows, int64_t n_ctx, Device& device);
  // Of host memory that one holds.
  static int64_t bytes(int64_t rows, int64_t n_ctx) { return 16 * rows * n_ctx + 8 + 4; }

  // Begins a step: takes the next batch, waiting for it; false where `give_up` ended that. The step
  // before that used this object must be complete.
  bool begin(int64_t step, double lr, Loader& loader, const std::function<bool()>& give_up);
  int64_t rows() const { return ids_.dim(0); }
  double total_weight() const { return total_weight_; }
  int64_t first_sample() const { return first_sample_; }
  Batch batch(int64_t begin, int64_t end) const;  // rows [begin, end)
  float* losses(int64_t row);                     // of its tokens, for the model to fill

  // After all work of the step: the copies of what the optimizer knows, and the point to wait for.
  void enqueue_report(const Optimizer& optimizer);
  // Where work was added after the report: that point is now here.
  void enqueue_end() { done_.record(); }
  void wait() { done_.wait(); }

  // What there is after wait().
  //   Sum of weight * loss in double: within each micro-batch of `at_once` rows, then over these.
  double loss_sum(int64_t at_once) const;
  double grad_norm() const;  // of the mean gradient
  int64_t updates() const;   // applied so far, this step's included where the device applied it
  double seconds() const { return done_.seconds_since(begun_); }        // waiting for data included
  double wait_seconds() const { return ready_.seconds_since(begun_); }  // of the device, for data
  std::vector<int64_t> nonfinite_samples() const;  // with a loss that is not finite

  StepRecord record;  // begin() fills what is known then, the trainer the rest

 private:
  Device* device_;
  Buffer memory_;
  Tensor ids_, targets_, weights_, losses_;  // (rows, n_ctx)
  Tensor sum_squares_, updates_;             // (1) f64, (1) i32
  int64_t first_sample_ = 0;
  double total_weight_ = 0.0;
  Event begun_, ready_, done_;  // before and after waiting for the batch; after everything
};

}  // namespace midfill
