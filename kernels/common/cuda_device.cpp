// A real GPU, by the CUDA runtime.
#include "kernels/common/cuda_device.h"

#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExt.h>

#include "kernels/common/check.h"

namespace midfill {

namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next check does not find it again
  fail("device cuda: {}: {}", what, cudaGetErrorString(status));
}

}  // namespace

Cuda::Cuda() {
  int device = 0;
  check(cudaGetDevice(&device), "no usable device");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cannot read the properties of the device");
  name_ = properties.name;
  require(properties.major >= 8,
          "device cuda: {} has compute capability {}.{}, expected 8.0 or later", name_,
          properties.major, properties.minor);
  multiprocessors_ = properties.multiProcessorCount;
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cannot make a stream");
  stream_ = stream;
}

Cuda::~Cuda() {
  cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));
  cudaStreamDestroy(static_cast<cudaStream_t>(stream_));
}

void* Cuda::workspace(size_t bytes) {
  if (workspace_.bytes() < bytes) {
    synchronize();  // kernels may still use the smaller one
    workspace_ = {};
    workspace_ = allocate(bytes);
  }
  return workspace_.data();
}

Buffer Cuda::allocate(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes > 0 ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    fail("out of memory: cannot allocate {} bytes; {} has {}, of which {} are free", bytes, name_,
         total, available);
  }
  check(status, "cannot allocate memory");
  return Buffer(data, bytes, [](void* p) { cudaFree(p); });
}

Buffer Cuda::allocate_host(size_t bytes) {
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes > 0 ? bytes : 1), "cannot allocate pinned host memory");
  return Buffer(data, bytes, [](void* p) { cudaFreeHost(p); });
}

void Cuda::upload(void* to_device, const void* from_host, size_t bytes) {
  check(cudaMemcpyAsync(to_device, from_host, bytes, cudaMemcpyHostToDevice,
                        static_cast<cudaStream_t>(stream_)),
        "cannot copy to the device");
}

void Cuda::download(void* to_host, const void* from_device, size_t bytes) {
  check(cudaMemcpyAsync(to_host, from_device, bytes, cudaMemcpyDeviceToHost,
                        static_cast<cudaStream_t>(stream_)),
        "cannot copy from the device");
}

void Cuda::copy(void* to_device, const void* from_device, size_t bytes) {
  check(cudaMemcpyAsync(to_device, from_device, bytes, cudaMemcpyDeviceToDevice,
                        static_cast<cudaStream_t>(stream_)),
        "cannot copy on the device");
}

void Cuda::synchronize() {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream_)), "a kernel failed");
}

// Waiting sleeps: a step takes long, and its thread's core may have other work.
Cuda::EventHandle Cuda::make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync), "cannot make an event");
  return {event, [](void* e) { cudaEventDestroy(static_cast<cudaEvent_t>(e)); }};
}

void Cuda::record(const EventHandle& event) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(event.get()), static_cast<cudaStream_t>(stream_)),
        "cannot record an event");
}

void Cuda::wait(const EventHandle& event) {
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(event.get())), "a kernel failed");
}

void Cuda::replay(CudaGraph& graph, const std::function<void()>& work) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  if (!graph.executable || graph.workspace != workspace_.data()) {
    // Other threads may call the runtime meanwhile.
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cannot capture");
    cudaGraph_t captured = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream, &captured);
      cudaGraphDestroy(captured);
      throw;
    }
    check(cudaStreamEndCapture(stream, &captured), "cannot capture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, captured, 0);
    cudaGraphDestroy(captured);
    check(status, "cannot make a graph");
    graph.executable = {executable,
                        [](void* e) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(e)); }};
    graph.workspace = workspace_.data();
  }
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph.executable.get()), stream),
        "cannot launch a graph");
}

double Cuda::seconds_between(const EventHandle& first, const EventHandle& last) const {
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(first.get()),
                             static_cast<cudaEvent_t>(last.get())),
        "cannot read the time of an event");
  return 1e-3 * milliseconds;
}

void Cuda::push_range(const char* name) {
  nvtxRangePushA(name);
}

void Cuda::pop_range() {
  nvtxRangePop();
}

}  // namespace midfill
