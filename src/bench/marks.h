// Points in the work of a device and the times between them.
#pragma once

#include <vector>

#include "kernels/common/device.h"

namespace midfill {

class Marks {
 public:
  explicit Marks(Device& device) : device_(&device) {}

  // After all work so far. Does not wait.
  void mark();
  // Milliseconds from each mark to the next. Waits for the last and forgets them all.
  std::vector<double> intervals();

 private:
  Device* device_;
  std::vector<Event> events_;  // made once, and used again
  size_t marks_ = 0;           // so many of them
};

}  // namespace midfill
