// Points in the work of a device and the times between them: by events on the stream of a GPU, by
// the clock of the host elsewhere.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "kernels/common/device.h"

namespace midfill {

// Events of a GPU that count time: gpu_events.cpp in builds by nvcc, else gpu_absent.cpp.
class GpuEvents {
 public:
  explicit GpuEvents(Cuda& cuda) : cuda_(&cuda) {}
  ~GpuEvents();
  GpuEvents(const GpuEvents&) = delete;
  GpuEvents& operator=(const GpuEvents&) = delete;

  void record(size_t index);
  // Waits for event `last` and gives the milliseconds from each to the next, from the first on.
  std::vector<double> intervals(size_t last);

 private:
  Cuda* cuda_;
  std::vector<void*> events_;  // cudaEvent_t
};

class Marks {
 public:
  explicit Marks(Device& device);

  // After all work so far. Does not wait.
  void mark();
  // Milliseconds from each mark to the next. Waits for the last and forgets them all.
  std::vector<double> intervals();

 private:
  std::unique_ptr<GpuEvents> events_;  // on a GPU
  std::vector<std::chrono::steady_clock::time_point> times_;
};

}  // namespace midfill
