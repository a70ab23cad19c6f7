// What only a GPU has, in builds without one: no product to compare with, and no events, which
// nothing makes there.
#include "src/bench/marks.h"
#include "src/bench/plain_gemm_cuda.h"

namespace midfill {

std::function<void()> plain_gemm_cuda(Cuda&, const PlainGemm&) {
  return {};
}

GpuEvents::~GpuEvents() = default;
void GpuEvents::record(size_t) {}
std::vector<double> GpuEvents::intervals(size_t) {
  return {};
}

}  // namespace midfill
