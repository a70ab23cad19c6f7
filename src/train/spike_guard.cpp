#include "src/train/spike_guard.h"

#include <algorithm>
#include <cmath>

namespace midfill {

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::apply:
      return "apply";
    case Verdict::spike:
      return "spike";
    case Verdict::nonfinite:
      return "nonfinite";
  }
  return "?";
}

Verdict SpikeGuard::judge(double loss, double norm) const {
  if (!std::isfinite(loss) || !std::isfinite(norm)) return Verdict::nonfinite;
  const double limit = config_.spike_zscore;
  if (limit > 0 && std::max(loss_zscore(loss), norm_zscore(norm)) > limit) return Verdict::spike;
  return Verdict::apply;
}

void SpikeGuard::accept(double loss, double norm) {
  push(losses_, loss);
  push(norms_, norm);
}

void SpikeGuard::restore(const std::vector<double>& losses, const std::vector<double>& norms) {
  losses_.clear();
  norms_.clear();
  for (const double x : losses) push(losses_, x);
  for (const double x : norms) push(norms_, x);
}

void SpikeGuard::push(std::deque<double>& window, double value) const {
  window.push_back(value);
  while (window.size() > static_cast<size_t>(config_.spike_window)) window.pop_front();
}

// Summed anew each time, in two passes: no running sum that drifts or that a checkpoint would have
// to hold.
double SpikeGuard::zscore(const std::deque<double>& window, double value) const {
  if (window.size() < static_cast<size_t>(config_.spike_window)) return 0.0;
  const double n = static_cast<double>(window.size());
  double mean = 0.0, variance = 0.0;
  for (const double x : window) mean += x / n;
  for (const double x : window) variance += (x - mean) * (x - mean) / n;
  return variance > 0.0 ? (value - mean) / std::sqrt(variance) : 0.0;
}

}  // namespace midfill
