// The device an op runs on. `Cpu` owns what its kernels need beside their operands: the thread
// count and one workspace. `Device::run` is the only place where an op meets a device:
//
//   Device device("cpu");
//   device.run(EmbeddingForward{.y = y, .ids = ids, .table = table});
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace midfill {

// Memory of the host: 256-byte aligned, not initialised, freed with the object. Large blocks ask
// for huge pages.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);
  void* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

class Cpu {
 public:
  // threads = 0: as many as the process may use.
  explicit Cpu(int threads);

  int threads() const { return threads_; }

  // At least `bytes` of scratch memory for the op that is running, 256-byte aligned, contents
  // undefined. It grows on the first step and then stays: nothing is allocated inside a step.
  void* workspace(size_t bytes);
  size_t workspace_bytes() const { return workspace_.bytes(); }

 private:
  int threads_;
  Buffer workspace_;
};

// Made by name: "cpu". Throws Error for another; "cuda" will be the second, when its ops exist, and
// has a message of its own until then.
class Device {
 public:
  explicit Device(std::string_view name, int threads = 0);

  template <typename Op>
  void run(const Op& op) {
    op.check();
    op.run(cpu_);
  }

  Cpu& cpu() { return cpu_; }

 private:
  Cpu cpu_;
};

}  // namespace midfill
