// Eight neighbouring elements: 16 bytes of bf16, twice 16 of f32. The unit in which kernels read
// and write rows whose width is a multiple of 8; in registers they are f32. Addresses are 16-byte
// aligned.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda.cuh"
#include "kernels/common/ptx.h"

namespace midfill {

template <typename T>
__device__ __forceinline__ void load8(float (&to)[8], const T* from) {
  if constexpr (std::is_same_v<T, float>) {
    const float4 a = reinterpret_cast<const float4*>(from)[0];
    const float4 b = reinterpret_cast<const float4*>(from)[1];
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w;
    to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    const uint4 packed = *reinterpret_cast<const uint4*>(from);
    to[0] = ptx::low_bf16(packed.x), to[1] = ptx::high_bf16(packed.x);
    to[2] = ptx::low_bf16(packed.y), to[3] = ptx::high_bf16(packed.y);
    to[4] = ptx::low_bf16(packed.z), to[5] = ptx::high_bf16(packed.z);
    to[6] = ptx::low_bf16(packed.w), to[7] = ptx::high_bf16(packed.w);
  }
}

// bf16 is rounded to nearest even. Global memory only: an assignment of 16 bytes nvcc sometimes
// takes apart, __stwb (a store like any other) never.
template <typename T>
__device__ __forceinline__ void store8(T* to, const float (&from)[8]) {
  if constexpr (std::is_same_v<T, float>) {
    auto* quads = reinterpret_cast<float4*>(to);
    __stwb(quads, make_float4(from[0], from[1], from[2], from[3]));
    __stwb(quads + 1, make_float4(from[4], from[5], from[6], from[7]));
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    __stwb(reinterpret_cast<uint4*>(to),
           make_uint4(ptx::pack_bf16x2(from[0], from[1]), ptx::pack_bf16x2(from[2], from[3]),
                      ptx::pack_bf16x2(from[4], from[5]), ptx::pack_bf16x2(from[6], from[7])));
  }
}

// The same in bf16 to shared memory.
__device__ __forceinline__ void store8_shared(__nv_bfloat16* to, const float (&from)[8]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(ptx::pack_bf16x2(from[0], from[1]), ptx::pack_bf16x2(from[2], from[3]),
                 ptx::pack_bf16x2(from[4], from[5]), ptx::pack_bf16x2(from[6], from[7]));
}

}  // namespace midfill
