// Which source each sample of a blend is from. Samples are dealt in cycles of kCycle that are all
// alike; in each, a source has its share of the weights to within one sample (largest remainder),
// spread evenly: among the first k samples of a cycle a source has its share of k to within one.
// So in any kCycle samples in a row, wherever they begin, each source has the same count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace midfill {

class Blend {
 public:
  static constexpr int64_t kCycle = 10'000;

  // At least one weight, all positive and finite, their sum finite. Throws Error naming the first
  // source whose weight would not give it one sample in a cycle.
  explicit Blend(const std::vector<double>& weights);

  struct Place {
    int32_t source = 0;  // in the order of the weights
    int64_t index = 0;   // the how many-th sample of that source, from 0
    bool operator==(const Place&) const = default;
  };
  // Where sample i comes from, i >= 0. For every source, `index` counts up without a gap over i.
  Place operator()(int64_t i) const {
    const Place& slot = cycle_[i % kCycle];
    return {slot.source, i / kCycle * counts_[slot.source] + slot.index};
  }

  // Samples of a source in a cycle.
  int64_t count(size_t source) const { return counts_[source]; }

 private:
  std::vector<int64_t> counts_;
  std::vector<Place> cycle_;
};

}  // namespace midfill
