// CUDA's names for kernel files, from the toolkit under nvcc and from the emulation under g++
// (kernels/simt), so that one source compiles twice. Every .cu file includes it.
//
//   SIMT_SHARED(float, tile, [32][33]);   // __shared__ float tile[32][33];
//   float* rest = dynamic_shared<float>();  // 1024-byte aligned
//   SIMT_UNROLL                           // before a loop
#pragma once

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_SHARED(type, name, dims) __shared__ type name dims

namespace midfill {
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
}
}  // namespace midfill

#else

#include "kernels/simt/simt.h"

namespace midfill {
using simt::dynamic_shared;
}  // namespace midfill

#endif
