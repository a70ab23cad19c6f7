#include "kernels/common/device.h"

#include <cstring>

#include "kernels/common/check.h"
#include "kernels/common/thread_count.h"

namespace midfill {

namespace {

std::unique_ptr<Cuda> cuda_of(std::string_view name) {
  if (name == "cpu") return nullptr;
  require(name == "cuda", "device {}: expected cpu or cuda", name);
  return std::make_unique<Cuda>();
}

}  // namespace

Cpu::Cpu(int threads) {
  const ThreadCount count = thread_count(threads, thread_limits());
  team_ = std::make_unique<ThreadTeam>(count.threads);
  shortfall_ = count.why;
  if (!team_->refusal().empty())
    shortfall_ = fmt::format("the system granted no more: {}", team_->refusal());
  if (!shortfall_.empty() && threads > 0)
    shortfall_ = fmt::format("{} asked for; {}", threads, shortfall_);
  blas_ = std::make_unique<BlasMemory>(team_->size());
}

void* Cpu::workspace(size_t bytes) {
  if (workspace_.bytes() < bytes) workspace_ = Buffer(bytes);
  return workspace_.data();
}

Device::Device(std::string_view name, int threads) : cpu_(threads), cuda_(cuda_of(name)) {}

Buffer Device::allocate(size_t bytes) {
  return cuda_ ? cuda_->allocate(bytes) : Buffer(bytes);
}

Buffer Device::allocate_host(size_t bytes) {
  return cuda_ ? cuda_->allocate_host(bytes) : Buffer(bytes);
}

void Device::upload(const Tensor& to, const void* from_host) {
  enqueue_upload(to, from_host);
  synchronize();
}

void Device::download(void* to_host, const Tensor& from) {
  enqueue_download(to_host, from);
  synchronize();
}

void Device::enqueue_upload(const Tensor& to, const void* from_host) {
  const auto bytes = static_cast<size_t>(to.bytes());
  if (cuda_)
    cuda_->upload(to.data(), from_host, bytes);
  else
    std::memcpy(to.data(), from_host, bytes);
}

void Device::enqueue_download(void* to_host, const Tensor& from) {
  const auto bytes = static_cast<size_t>(from.bytes());
  if (cuda_)
    cuda_->download(to_host, from.data(), bytes);
  else
    std::memcpy(to_host, from.data(), bytes);
}

void Device::synchronize() {
  if (cuda_) cuda_->synchronize();
}

Event::Event(Device& device)
    : cuda_(device.is_cuda() ? &device.cuda() : nullptr),
      event_(cuda_ ? cuda_->make_event() : Cuda::EventHandle(nullptr, nullptr)) {}

void Event::record() {
  if (cuda_)
    cuda_->record(event_);
  else
    recorded_ = std::chrono::steady_clock::now();
}

void Event::wait() {
  if (cuda_) cuda_->wait(event_);
}

double Event::seconds_since(const Event& earlier) const {
  if (cuda_) return cuda_->seconds_between(earlier.event_, event_);
  return std::chrono::duration<double>(recorded_ - earlier.recorded_).count();
}

}  // namespace midfill
