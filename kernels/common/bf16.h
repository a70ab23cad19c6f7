// bfloat16 on the host: the upper half of a float.
#pragma once

#include <bit>
#include <cstdint>

namespace midfill {

struct Bf16 {
  uint16_t bits;

  Bf16() = default;
  // To nearest, ties to even; every NaN becomes 0x7fff, as on a GPU.
  constexpr explicit Bf16(float f) : bits(round(std::bit_cast<uint32_t>(f))) {}
  constexpr explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }

 private:
  static constexpr uint16_t round(uint32_t f) {
    if ((f & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((f + 0x7fffu + (f >> 16 & 1u)) >> 16);
  }
};

}  // namespace midfill
