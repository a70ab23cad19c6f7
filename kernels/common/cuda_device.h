// The device `cuda`: a GPU in builds by nvcc, the emulation (kernels/simt) in the preset `simt`.
// Each build has one of the files that implement it: cuda_device.cpp, cuda_device_emulated.cpp or
// cuda_device_absent.cpp. No header of CUDA is needed to use it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "kernels/common/buffer.h"

namespace midfill {

class GemmPlans;

// Work that was captured once, to be launched as a whole. Empty at first.
struct CudaGraph {
  std::unique_ptr<void, void (*)(void*)> executable{nullptr, nullptr};  // a cudaGraphExec_t
  const void* workspace = nullptr;                                      // that it works in
};

class Cuda {
 public:
  // The current device (CUDA_VISIBLE_DEVICES chooses). Throws Error where there is none or the
  // driver refuses.
  Cuda();
  ~Cuda();
  Cuda(const Cuda&) = delete;
  Cuda& operator=(const Cuda&) = delete;

  const std::string& name() const { return name_; }  // "NVIDIA H100 80GB HBM3", "emulated GPU"
  int multiprocessors() const { return multiprocessors_; }
  // All work goes to this one stream, in order. A cudaStream_t; null on the emulation.
  void* stream() const { return stream_; }

  // At least `bytes` of device memory for the op that is running, 256-byte aligned, contents
  // undefined. It grows during the first step and then stays: nothing is allocated inside a step.
  void* workspace(size_t bytes);
  size_t workspace_bytes() const { return workspace_.bytes(); }

  // What matrix products remember (kernels/common/gemm.h); empty before the first.
  std::shared_ptr<GemmPlans>& gemm_plans() { return gemm_plans_; }

  Buffer allocate(size_t bytes);       // device memory, 256-byte aligned, contents undefined
  Buffer allocate_host(size_t bytes);  // host memory that copies reach without a detour

  // Copies in the order of the stream's work. The first two return before the copy is done where
  // the host memory comes from allocate_host: it must stay untouched until synchronize().
  void upload(void* to_device, const void* from_host, size_t bytes);
  void download(void* to_host, const void* from_device, size_t bytes);
  void copy(void* to_device, const void* from_device, size_t bytes);
  // Waits for all work. Throws Error where a kernel has failed.
  void synchronize();

  // A cudaEvent_t, freed with the pointer; on the emulation a time. Event (device.h) is what to
  // use.
  using EventHandle = std::unique_ptr<void, void (*)(void*)>;
  EventHandle make_event();
  void record(const EventHandle& event);  // after all work so far
  void wait(const EventHandle& event);    // until that is done; throws as synchronize() does
  // By the device's clock, after wait() for both.
  double seconds_between(const EventHandle& first, const EventHandle& last) const;

  // Launches what `work` puts on the stream as one CUDA graph: captured at the first call, and
  // again where the workspace has moved since. `work` must enqueue the same each time, must not
  // wait, and must have run before, so that it allocates nothing. The emulation just runs it.
  void replay(CudaGraph& graph, const std::function<void()>& work);

  // Named ranges for profilers (NVTX), nested; nothing on the emulation.
  static void push_range(const char* name);
  static void pop_range();

 private:
  std::string name_;
  int multiprocessors_ = 1;
  void* stream_ = nullptr;
  Buffer workspace_;
  std::shared_ptr<GemmPlans> gemm_plans_;
};

}  // namespace midfill
