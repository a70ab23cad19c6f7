// Builds without CUDA: the device cannot be made, so nothing else is ever called.
#include "kernels/common/check.h"
#include "kernels/common/cuda_device.h"

namespace midfill {

Cuda::Cuda() {
  fail("device cuda: this build has no CUDA backend; use --device cpu");
}
Cuda::~Cuda() = default;
void* Cuda::workspace(size_t) {
  return nullptr;
}
Buffer Cuda::allocate(size_t) {
  return {};
}
Buffer Cuda::allocate_host(size_t) {
  return {};
}
void Cuda::upload(void*, const void*, size_t) {}
void Cuda::download(void*, const void*, size_t) {}
void Cuda::copy(void*, const void*, size_t) {}
void Cuda::synchronize() {}
Cuda::EventHandle Cuda::make_event() {
  return {nullptr, nullptr};
}
void Cuda::record(const EventHandle&) {}
void Cuda::wait(const EventHandle&) {}
void Cuda::replay(CudaGraph&, const std::function<void()>&) {}
double Cuda::seconds_between(const EventHandle&, const EventHandle&) const {
  return 0.0;
}
void Cuda::push_range(const char*) {}
void Cuda::pop_range() {}

}  // namespace midfill
