// CUDA's vector and bfloat16 types for g++: same names, sizes, alignment and rounding. Only kernel
// files see them, through kernels/simt/simt.h, since the names are global as CUDA's are.
#pragma once

#include <bit>
#include <cstdint>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};

struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};

constexpr int2 make_int2(int x, int y) {
  return {x, y};
}
constexpr int4 make_int4(int x, int y, int z, int w) {
  return {x, y, z, w};
}
constexpr uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
constexpr float2 make_float2(float x, float y) {
  return {x, y};
}
constexpr float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

struct __nv_bfloat16 {
  uint16_t bits;

  __nv_bfloat16() = default;
  // To nearest, ties to even; every NaN becomes 0x7fff, as on the GPU.
  constexpr explicit __nv_bfloat16(float f) : bits(round(std::bit_cast<uint32_t>(f))) {}
  constexpr explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }

 private:
  static constexpr uint16_t round(uint32_t f) {
    if ((f & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((f + 0x7fffu + (f >> 16 & 1u)) >> 16);
  }
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

constexpr __nv_bfloat16 __float2bfloat16(float f) {
  return __nv_bfloat16(f);
}
constexpr __nv_bfloat16 __float2bfloat16_rn(float f) {
  return __nv_bfloat16(f);
}
constexpr float __bfloat162float(__nv_bfloat16 b) {
  return static_cast<float>(b);
}
constexpr __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__nv_bfloat16(x), __nv_bfloat16(y)};
}
constexpr float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {static_cast<float>(v.x), static_cast<float>(v.y)};
}
constexpr uint16_t __bfloat16_as_ushort(__nv_bfloat16 b) {
  return b.bits;
}
constexpr __nv_bfloat16 __ushort_as_bfloat16(uint16_t bits) {
  return std::bit_cast<__nv_bfloat16>(bits);
}
