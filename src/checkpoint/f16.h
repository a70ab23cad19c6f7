// IEEE binary16 on the host, as weight files hold it. Source: IEEE 754-2019, 3.4 and 4.3.1.
#pragma once

#include <bit>
#include <cstdint>

namespace midfill {

struct F16 {
  uint16_t bits;

  F16() = default;
  constexpr explicit F16(uint16_t raw) : bits(raw) {}
  // To nearest, ties to even: infinite from 65520 on.
  constexpr explicit F16(float f) : bits(round(std::bit_cast<uint32_t>(f))) {}

  constexpr explicit operator float() const {
    const uint32_t sign = uint32_t{bits} << 16 & 0x80000000u;
    const uint32_t exponent = bits >> 10 & 31u, mantissa = bits & 0x3ffu;
    if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
      const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
      return sign ? -magnitude : magnitude;
    }
    const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
    return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
  }

 private:
  static constexpr uint16_t round(uint32_t f) {
    const uint32_t sign = f >> 16 & 0x8000u, magnitude = f & 0x7fffffffu;
    return static_cast<uint16_t>(sign | round_magnitude(magnitude));
  }
  static constexpr uint32_t round_magnitude(uint32_t f) {
    if (f > 0x7f800000u) return 0x7e00u;   // NaN
    if (f >= 0x47800000u) return 0x7c00u;  // 2^16 and more
    if (f < 0x33000000u) return 0;         // less than half of 2^-24
    if (f >= 0x38800000u)                  // normal: the exponent's bias is 112 less
      return (f - (112u << 23) + 0xfffu + (f >> 13 & 1u)) >> 13;
    const uint32_t mantissa = (f & 0x7fffffu) | 0x800000u, shift = 126u - (f >> 23);
    const uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1);
    const uint32_t half = 1u << (shift - 1);
    return kept + (rest > half || (rest == half && (kept & 1u)));
  }
};

}  // namespace midfill
