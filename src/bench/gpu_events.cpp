#include <cuda_runtime_api.h>

#include "kernels/common/check.h"
#include "src/bench/marks.h"

namespace midfill {

namespace {

void check(cudaError_t status) {
  require(status == cudaSuccess, "bench: {}", cudaGetErrorString(status));
}

}  // namespace

GpuEvents::~GpuEvents() {
  for (void* event : events_) cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

void GpuEvents::record(size_t index) {
  if (index == events_.size()) {
    cudaEvent_t made = nullptr;
    check(cudaEventCreate(&made));
    events_.push_back(made);
  }
  check(cudaEventRecord(static_cast<cudaEvent_t>(events_[index]),
                        static_cast<cudaStream_t>(cuda_->stream())));
}

std::vector<double> GpuEvents::intervals(size_t last) {
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(events_[last])));
  std::vector<double> found;
  for (size_t i = 0; i < last; ++i) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(events_[i]),
                               static_cast<cudaEvent_t>(events_[i + 1])));
    found.push_back(static_cast<double>(milliseconds));
  }
  return found;
}

}  // namespace midfill
