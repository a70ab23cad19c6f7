// The emulated device: kernels run on the calling thread and have run when their launch returns, so
// there is nothing to wait for. Its memory comes from simt::allocate, which race mode and
// AddressSanitizer watch.
#include <chrono>
#include <cstring>

#include "kernels/common/cuda_device.h"
#include "kernels/simt/runtime.h"

namespace midfill {

Cuda::Cuda() : name_("emulated GPU") {}
Cuda::~Cuda() = default;

void* Cuda::workspace(size_t bytes) {
  if (workspace_.bytes() < bytes) workspace_ = allocate(bytes);
  return workspace_.data();
}

Buffer Cuda::allocate(size_t bytes) {
  return Buffer(simt::allocate(bytes), bytes, simt::release);
}

Buffer Cuda::allocate_host(size_t bytes) {
  return Buffer(bytes);
}

void Cuda::upload(void* to_device, const void* from_host, size_t bytes) {
  std::memcpy(to_device, from_host, bytes);
}

void Cuda::download(void* to_host, const void* from_device, size_t bytes) {
  std::memcpy(to_host, from_device, bytes);
}

void Cuda::copy(void* to_device, const void* from_device, size_t bytes) {
  std::memmove(to_device, from_device, bytes);
}

void Cuda::synchronize() {}

// What was recorded is done, so an event is the time of its record().
using Clock = std::chrono::steady_clock;

Cuda::EventHandle Cuda::make_event() {
  return {new Clock::time_point,
          [](void* event) { delete static_cast<Clock::time_point*>(event); }};
}

void Cuda::record(const EventHandle& event) {
  *static_cast<Clock::time_point*>(event.get()) = Clock::now();
}

void Cuda::wait(const EventHandle&) {}
void Cuda::replay(CudaGraph&, const std::function<void()>& work) {
  work();
}

double Cuda::seconds_between(const EventHandle& first, const EventHandle& last) const {
  const auto time_of = [](const EventHandle& e) {
    return *static_cast<Clock::time_point*>(e.get());
  };
  return std::chrono::duration<double>(time_of(last) - time_of(first)).count();
}

void Cuda::push_range(const char*) {}
void Cuda::pop_range() {}

}  // namespace midfill
