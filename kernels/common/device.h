// The device an op runs on. `Cpu` and `Cuda` own what their kernels need beside the operands:
// threads or a stream, and one workspace. `Device::run` is the only place where an op meets a
// device:
//
//   Device device("cpu");
//   device.run(EmbeddingForward{.y = y, .ids = ids, .table = table});
//
// Operands are in memory of the device.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/common/blas_memory.h"
#include "kernels/common/buffer.h"
#include "kernels/common/cuda_device.h"
#include "kernels/common/tensor.h"
#include "kernels/common/threads.h"

namespace midfill {

class Cpu {
 public:
  // threads = 0: as many as the process may use (thread_count.h). Throws Error where the memory for
  // them is not there.
  explicit Cpu(int threads);

  // As many as the process may use and the system has granted.
  int threads() const { return team_->size(); }
  // Why these are fewer than were asked for; else empty.
  const std::string& shortfall() const { return shortfall_; }
  ThreadTeam& team() const { return *team_; }

  // At least `bytes` of scratch memory for the op that is running, 256-byte aligned, contents
  // undefined. It grows on the first step and then stays: nothing is allocated inside a step.
  void* workspace(size_t bytes);
  size_t workspace_bytes() const { return workspace_.bytes(); }

 private:
  std::unique_ptr<ThreadTeam> team_;
  std::unique_ptr<BlasMemory> blas_;
  std::string shortfall_;
  Buffer workspace_;
};

namespace detail {

// "LayerNormForward", from the compiler's name of this function.
template <typename Op>
std::string op_name() {
  std::string_view name = __PRETTY_FUNCTION__;
  name.remove_prefix(name.find("Op = ") + 5);
  name = name.substr(0, name.find_first_of(";]"));
  return std::string(name.substr(name.rfind(':') + 1));
}

}  // namespace detail

class Device {
 public:
  // "cpu", or "cuda" where the build has it. Throws Error for another, and where there is no such
  // device. `threads` are those of the host.
  explicit Device(std::string_view name, int threads = 0);

  template <typename Op>
  void run(const Op& op) {
    op.check();
#ifdef MIDFILL_HAS_CUDA
    if (cuda_) {
      static const std::string name = detail::op_name<Op>();
      const Range range(*this, name.c_str());
      op.run(*cuda_);
      return;
    }
#endif
    op.run(cpu_);
  }

  bool is_cuda() const {
    return cuda_ != nullptr;
  }
  Cpu& cpu() {
    return cpu_;
  }
  Cuda& cuda() {
    return *cuda_;
  }

  // Memory of the device, 256-byte aligned, contents undefined.
  Buffer allocate(size_t bytes);
  // Memory of the host that copies to and from the device reach without a detour.
  Buffer allocate_host(size_t bytes);
  // Between host memory and a tensor of the device, of the same size; done on return, after all
  // work before it.
  void upload(const Tensor& to, const void* from_host);
  void download(void* to_host, const Tensor& from);
  // The same without waiting: on `cuda` the copy takes its turn in the stream, and host memory that
  // comes from allocate_host() must stay untouched until synchronize() or an Event says so.
  void enqueue_upload(const Tensor& to, const void* from_host);
  void enqueue_download(void* to_host, const Tensor& from);
  // Waits for all work.
  void synchronize();

  // A named range of work as profilers show it, until the end of the scope; ranges nest. Nothing on
  // the CPU. `name` must outlive it.
  class Range {
   public:
    Range(const Device& device, const char* name) : shown_(device.is_cuda()) {
      if (shown_) Cuda::push_range(name);
    }
    ~Range() {
      if (shown_) Cuda::pop_range();
    }
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;

   private:
    bool shown_;
  };

 private:
  Cpu cpu_;
  std::unique_ptr<Cuda> cuda_;
};

// A point in the work of a device, with its time, that the host can wait for. On the CPU all work
// is done when its call returns, so there is nothing to wait for.
class Event {
 public:
  explicit Event(Device& device);  // which outlives it

  void record();  // the point is after all work so far; an earlier one is forgotten
  void wait();    // until that work is done; throws Error where a kernel failed
  // When the device got here, counted from `earlier`, after wait().
  double seconds_since(const Event& earlier) const;

 private:
  Cuda* cuda_;  // null on the CPU
  Cuda::EventHandle event_;
  std::chrono::steady_clock::time_point recorded_;  // on the CPU
};

}  // namespace midfill
