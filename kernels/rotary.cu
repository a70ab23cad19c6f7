#include "kernels/attention.h"
#include "kernels/common/launch.h"

namespace midfill {

namespace {

constexpr int kThreads = 256;

// cos, sin (T', half). The same expression as on the CPU, in double.
__global__ void rotary_tables(float* cosines, float* sines, int64_t n, int64_t half, double base) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= n) return;
  const double angle = static_cast<double>(at / half) *
                       pow(base, -static_cast<double>(at % half) / static_cast<double>(half));
  cosines[at] = static_cast<float>(cos(angle));
  sines[at] = static_cast<float>(sin(angle));
}

}  // namespace

void RotaryTables::run(Cuda& cuda) const {
  launch<rotary_tables>(
      {.grid = blocks_of(cos.numel(), kThreads), .block = kThreads, .stream = stream_of(cuda)},
      cos.as<float>(), sin.as<float>(), cos.numel(), cos.dim(1), base);
}

}  // namespace midfill
