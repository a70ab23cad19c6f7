// Starting a kernel. `launch` is the only way to: it takes the stream, asks for dynamic shared
// memory beyond the default 48 KB, and always checks, so that none of these can be forgotten. It
// works alike with nvcc and on the emulation (kernels/simt). Only .cu files include it.
//
//   launch<layernorm_forward<float>>({.grid = rows, .block = 128, .stream = stream}, y, x, width);
//
// A kernel that cannot start throws midfill::Error, one line with file and line of the launch, the
// kernel, grid, block, shared bytes and the reason. What goes wrong while a kernel runs the
// emulation reports in the same way; a GPU reports it to a later call, or to the launch itself with
// MIDFILL_SYNC_LAUNCHES=1 in the environment, since each launch then waits for its kernel.
#pragma once

#include <cstdlib>
#include <source_location>
#include <string>
#include <string_view>

#include "kernels/common/check.h"
#include "kernels/common/cuda.cuh"
#include "kernels/common/cuda_device.h"
#include "kernels/common/dtype.h"

namespace midfill {

#if defined(__CUDACC__)
using Stream = cudaStream_t;
#else
using Stream = void*;  // a kernel has run when its launch returns
#endif

inline Stream stream_of(const Cuda& cuda) {
  return static_cast<Stream>(cuda.stream());
}

// Tensors of bf16 hold CUDA's type in kernel files: t.as<__nv_bfloat16>().
template <>
struct DTypeOf<__nv_bfloat16> {
  static constexpr DType value = DType::bf16;
};

// Blocks of `size` that cover n elements or rows.
constexpr unsigned blocks_of(int64_t n, int64_t size) {
  return static_cast<unsigned>((n + size - 1) / size);
}

struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic
  Stream stream = nullptr;
  std::source_location where = std::source_location::current();
};

namespace detail {

// "layernorm_forward<float>"
template <auto kKernel>
std::string kernel_name() {
  std::string_view name = __PRETTY_FUNCTION__;
  name.remove_prefix(name.find("kKernel = ") + 10);
  name = name.substr(0, name.find_first_of(";]"));
  const size_t scope = name.substr(0, name.find('<')).rfind("::");
  return std::string(scope == name.npos ? name : name.substr(scope + 2));
}

[[noreturn]] inline void launch_failed(const Launch& how, std::string_view kernel,
                                       std::string_view reason) {
  std::string_view file = how.where.file_name();
  file.remove_prefix(file.rfind('/') + 1);
  fail("{}:{}: {}, grid ({}, {}, {}), block ({}, {}, {}), {} bytes of dynamic shared memory: {}",
       file, how.where.line(), kernel, how.grid.x, how.grid.y, how.grid.z, how.block.x, how.block.y,
       how.block.z, how.shared_bytes, reason);
}

#if defined(__CUDACC__)
inline bool sync_launches() {
  static const bool sync = [] {
    const char* value = std::getenv("MIDFILL_SYNC_LAUNCHES");
    return value != nullptr && std::string_view(value) == "1";
  }();
  return sync;
}

template <typename... Parameters, typename... Arguments>
cudaError_t start(void (*kernel)(Parameters...), const Launch& how, Arguments&&... arguments) {
  constexpr size_t kDefaultSharedBytes = 48 * 1024;
  if (how.shared_bytes > kDefaultSharedBytes) {
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared_bytes));
    if (status != cudaSuccess) return status;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = how.stream;
  const cudaError_t status =
      cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  if (status != cudaSuccess || !sync_launches()) return status;
  return cudaStreamSynchronize(how.stream);
}
#else
template <typename... Parameters, typename... Arguments>
void start(void (*kernel)(Parameters...), const Launch& how, Arguments&&... arguments) {
  simt::launch(
      how.grid, how.block, how.shared_bytes, [&] { kernel(static_cast<Parameters>(arguments)...); },
      how.where);
}
#endif

}  // namespace detail

// Runs kKernel on the stream with these arguments, converted to its parameters' types.
template <auto kKernel, typename... Arguments>
void launch(const Launch& how, Arguments&&... arguments) {
#if defined(__CUDACC__)
  const cudaError_t status = detail::start(kKernel, how, arguments...);
  if (status != cudaSuccess) {
    cudaGetLastError();  // so that the next check does not find it again
    detail::launch_failed(how, detail::kernel_name<kKernel>(), cudaGetErrorString(status));
  }
#else
  try {
    detail::start(kKernel, how, arguments...);
  } catch (const Error& error) {
    detail::launch_failed(how, detail::kernel_name<kKernel>(), error.what());
  }
#endif
}

}  // namespace midfill
