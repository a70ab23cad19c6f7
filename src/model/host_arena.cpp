#include "src/model/host_arena.h"

namespace midfill {

namespace {

Tensor moved_to(void* data, const Tensor& like) {
  std::vector<int64_t> dims;
  for (int i = 0; i < like.rank(); ++i) dims.push_back(like.dim(i));
  return Tensor(data, like.dtype(), dims);
}

}  // namespace

HostArena::HostArena(Device& device, const Tensor& arena)
    : device_(&device), arena_(arena), host_(arena) {
  if (!device.is_cuda()) return;
  copy_ = Buffer(static_cast<size_t>(arena.bytes()));
  host_ = moved_to(copy_.data(), arena);
  device.download(copy_.data(), arena);
}

void HostArena::store() {
  if (device_->is_cuda()) device_->upload(arena_, host_.data());
}

}  // namespace midfill
