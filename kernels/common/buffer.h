// A block of memory of the host or of a device, freed with the object.
#pragma once

#include <cstddef>
#include <memory>

namespace midfill {

class Buffer {
 public:
  Buffer() = default;
  // Memory of the host: 256-byte aligned, not initialised. Large blocks ask for huge pages. Throws
  // Error where the machine does not have that much.
  explicit Buffer(size_t bytes);
  // Takes over `data`, of `bytes`; `release` frees it.
  Buffer(void* data, size_t bytes, void (*release)(void*)) : data_(data, release), bytes_(bytes) {}

  void* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<void, void (*)(void*)> data_{nullptr, nullptr};
  size_t bytes_ = 0;
};

}  // namespace midfill
