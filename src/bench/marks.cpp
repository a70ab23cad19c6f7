#include "src/bench/marks.h"

namespace midfill {

void Marks::mark() {
  if (marks_ == events_.size()) events_.emplace_back(*device_);
  events_[marks_++].record();
}

std::vector<double> Marks::intervals() {
  events_[marks_ - 1].wait();
  std::vector<double> found;
  for (size_t i = 1; i < marks_; ++i)
    found.push_back(1e3 * events_[i].seconds_since(events_[i - 1]));
  marks_ = 0;
  return found;
}

}  // namespace midfill
