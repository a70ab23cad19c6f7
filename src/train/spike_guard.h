// Judges each update before it is applied: a loss or gradient norm that is not finite, or that
// stands out from the updates before, is not worth having.
#pragma once

#include <deque>
#include <string_view>
#include <vector>

#include "src/config/config.h"

namespace midfill {

enum class Verdict { apply, spike, nonfinite };
std::string_view name_of(Verdict verdict);  // "apply", "spike", "nonfinite"

// The windows hold loss and gradient norm of the last `spike_window` updates that were applied:
// what is skipped never enters them, so one outlier cannot blind the guard to the next. A lasting
// change of level therefore ends in TrainConfig::max_skips skips in a row, which stop the run.
class SpikeGuard {
 public:
  explicit SpikeGuard(const TrainConfig& config) : config_(config) {}

  // Takes no side: windows change in accept() only.
  Verdict judge(double loss, double norm) const;
  // After an update was applied. `loss` and `norm` are finite.
  void accept(double loss, double norm);

  // Standard deviations above the window's mean; 0 before the window is full and where nothing in
  // it varies.
  double loss_zscore(double loss) const { return zscore(losses_, loss); }
  double norm_zscore(double norm) const { return zscore(norms_, norm); }

  // For checkpoints, oldest first.
  std::vector<double> loss_window() const { return {losses_.begin(), losses_.end()}; }
  std::vector<double> norm_window() const { return {norms_.begin(), norms_.end()}; }
  void restore(const std::vector<double>& losses, const std::vector<double>& norms);

 private:
  double zscore(const std::deque<double>& window, double value) const;
  void push(std::deque<double>& window, double value) const;

  TrainConfig config_;
  std::deque<double> losses_, norms_;
};

}  // namespace midfill
