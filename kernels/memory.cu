#include "kernels/common/launch.h"
#include "kernels/memory.h"

namespace midfill {

namespace {

constexpr int kThreads = 256;

__global__ void fill(float* y, int64_t n, float value) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) y[i] = value;
}

}  // namespace

void Fill::run(Cuda& cuda) const {
  launch<fill>(
      {.grid = blocks_of(y.numel(), kThreads), .block = kThreads, .stream = stream_of(cuda)},
      y.as<float>(), y.numel(), value);
}

void Copy::run(Cuda& cuda) const {
  cuda.copy(y.data(), x.data(), static_cast<size_t>(x.bytes()));
}

}  // namespace midfill
