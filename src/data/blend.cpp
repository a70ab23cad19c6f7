#include "src/data/blend.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "kernels/common/check.h"

namespace midfill {

namespace {

// Whole numbers in proportion to the weights that add up to kCycle: rounded down, and one more for
// those that lost most.
std::vector<int64_t> largest_remainder(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> counts;
  std::vector<double> lost;
  for (const double weight : weights) {
    const double quota = weight / sum * Blend::kCycle;
    counts.push_back(static_cast<int64_t>(quota));
    lost.push_back(quota - std::floor(quota));
  }
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lost[a] > lost[b]; });
  int64_t left = Blend::kCycle - std::accumulate(counts.begin(), counts.end(), int64_t{0});
  for (size_t i = 0; left > 0; ++i, --left) ++counts[order[i]];
  return counts;
}

}  // namespace

// Sample r of a source with n a cycle may stand at slots floor(r C / n) to ceil((r + 1) C / n) - 1,
// C = kCycle: then it is never ahead of its share, nor behind it, by a whole sample. Of those that
// may stand at a slot the one that must come soonest does. That this order meets all such limits is
// the theorem of proportionate progress for a single processor (Baruah, Cohen, Plaxton, Varvel,
// Algorithmica 15, 1996).
Blend::Blend(const std::vector<double>& weights) : counts_(largest_remainder(weights)) {
  for (size_t d = 0; d < counts_.size(); ++d)
    require(counts_[d] > 0,
            "source {} of {}: its weight {} is less than one sample in {} of the sum; expected a "
            "larger weight",
            d + 1, counts_.size(), weights[d], kCycle);
  struct Next {
    int64_t rank = 0, first = 0, end = 0;
  };
  std::vector<Next> next(counts_.size());
  const auto set_limits = [&](size_t d) {
    next[d].first = next[d].rank * kCycle / counts_[d];
    next[d].end = ((next[d].rank + 1) * kCycle + counts_[d] - 1) / counts_[d];
  };
  for (size_t d = 0; d < next.size(); ++d) set_limits(d);
  for (int64_t slot = 0; slot < kCycle; ++slot) {
    size_t best = next.size();
    for (size_t d = 0; d < next.size(); ++d)
      if (next[d].first <= slot && (best == next.size() || next[d].end < next[best].end)) best = d;
    assert(best < next.size() && slot < next[best].end);
    cycle_.push_back({static_cast<int32_t>(best), next[best].rank});
    ++next[best].rank;
    set_limits(best);
  }
}

}  // namespace midfill
