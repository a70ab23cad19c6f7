#include "src/bench/marks.h"

#include "src/bench/machine.h"

namespace midfill {

Marks::Marks(Device& device) {
  if (device.is_cuda() && !is_emulated(device))
    events_ = std::make_unique<GpuEvents>(device.cuda());
}

void Marks::mark() {
  if (events_) events_->record(times_.size());
  times_.push_back(std::chrono::steady_clock::now());
}

std::vector<double> Marks::intervals() {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  std::vector<double> found;
  if (events_)
    found = events_->intervals(times_.size() - 1);
  else
    for (size_t i = 1; i < times_.size(); ++i)
      found.push_back(Milliseconds(times_[i] - times_[i - 1]).count());
  times_.clear();
  return found;
}

}  // namespace midfill
