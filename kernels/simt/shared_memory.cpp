#include "kernels/simt/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/common/check.h"
#include "kernels/simt/runtime.h"
#include "kernels/simt/sanitizer.h"

namespace midfill::simt {
namespace {

constexpr size_t kAlignment = 1024;  // of the memory and of its dynamic part
constexpr size_t kGuard = 256;
constexpr size_t kBytes = 512 * 1024;  // the GPU's limit and room for guards

size_t round_up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace

SharedMemory::SharedMemory()
    : memory_(static_cast<char*>(std::aligned_alloc(kAlignment, kBytes))), used_(kBytes) {
  require(memory_ != nullptr, "no memory for the shared memory of emulated blocks");
}

SharedMemory::~SharedMemory() {
  asan::unpoison(memory_, kBytes);
  std::free(memory_);
}

void SharedMemory::begin_block(size_t dynamic_bytes) {
  asan::unpoison(memory_, used_);
  std::memset(memory_, 0xff, used_);
  asan::poison(memory_, kBytes);
  variables_.clear();
  used_ = kGuard;
  static_bytes_ = 0;
  dynamic_bytes_ = dynamic_bytes;
  dynamic_ = place(nullptr, dynamic_bytes, kAlignment);
}

void* SharedMemory::variable(const void* key, size_t bytes, size_t alignment) {
  for (const Variable& v : variables_)
    if (v.key == key) return memory_ + v.begin;
  static_bytes_ = round_up(static_bytes_, alignment) + bytes;
  require(static_bytes_ <= kMaxStaticSharedBytes,
          "static shared memory: expected at most {} bytes, found {}", kMaxStaticSharedBytes,
          static_bytes_);
  require(static_bytes_ + dynamic_bytes_ <= kMaxSharedBytes,
          "shared memory of a block: expected at most {} bytes, found {} static and {} dynamic",
          kMaxSharedBytes, static_bytes_, dynamic_bytes_);
  return place(key, bytes, std::max<size_t>(alignment, 16));
}

void* SharedMemory::place(const void* key, size_t bytes, size_t alignment) {
  const size_t begin = round_up(used_, alignment), end = begin + bytes;
  used_ = round_up(end + kGuard, 128);
  require(used_ <= kBytes, "more shared variables in one block than the emulation has room for");
  asan::unpoison(memory_ + begin, bytes);
  variables_.push_back({key, begin, end});
  return memory_ + begin;
}

std::span<const char> SharedMemory::bytes() const {
  return {memory_, kBytes};
}

bool SharedMemory::in_variable(const void* p, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(memory_);
  for (const Variable& v : variables_)
    if (begin >= v.begin && begin + bytes <= v.end) return true;
  return false;
}

bool SharedMemory::overrun() const {
  size_t begin = 0;
  auto damaged = [&](size_t end) {
    for (size_t i = begin; i < end; ++i)
      if (memory_[i] != '\xff') return true;
    return false;
  };
  for (const Variable& v : variables_) {
    if (damaged(v.begin)) return true;
    begin = v.end;
  }
  return damaged(used_);
}

}  // namespace midfill::simt
