#include "src/checkpoint/f16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace midfill {
namespace {

constexpr uint16_t kInfinity = 0x7c00;

// The value of the magnitude `bits`, by the definition; of infinity, what would follow the largest.
double value_of(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10);
  const double mantissa = bits & 0x3ffu;
  return exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
}

uint16_t bits_of(double value) {
  return F16(static_cast<float>(value)).bits;
}

TEST(F16, EveryValueAndWhatLiesBetween) {
  for (uint32_t bits = 0; bits < kInfinity; ++bits) {
    const double value = value_of(bits), middle = (value + value_of(bits + 1)) / 2;
    const auto here = static_cast<uint16_t>(bits), above = static_cast<uint16_t>(bits + 1);
    ASSERT_EQ(static_cast<double>(static_cast<float>(F16(here))), value);
    ASSERT_EQ(bits_of(value), here);
    // A f32 has room for the middle, and for what lies beside it.
    const auto tie = static_cast<float>(middle);
    ASSERT_EQ(static_cast<double>(tie), middle);
    ASSERT_EQ(F16(tie).bits, bits % 2 == 0 ? here : above) << middle;
    ASSERT_EQ(F16(std::nextafter(tie, 0.0f)).bits, here) << middle;
    ASSERT_EQ(F16(std::nextafter(tie, 1e9f)).bits, above) << middle;
    ASSERT_EQ(F16(-tie).bits, F16(tie).bits | 0x8000u) << middle;
  }
}

TEST(F16, WhatIsNoFiniteNumber) {
  EXPECT_EQ(bits_of(65519.99), 0x7bff);
  EXPECT_EQ(bits_of(65520), kInfinity);
  for (const float large : {65536.0f, 1e6f, std::numeric_limits<float>::max(), INFINITY}) {
    EXPECT_EQ(F16(large).bits, kInfinity) << large;
    EXPECT_EQ(F16(-large).bits, kInfinity | 0x8000u) << large;
  }
  EXPECT_TRUE(std::isnan(static_cast<float>(F16(NAN))));
  EXPECT_TRUE(std::isnan(static_cast<float>(F16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(static_cast<float>(F16(kInfinity)), INFINITY);
  EXPECT_TRUE(std::isnan(static_cast<float>(F16(uint16_t{0x7c01}))));
  EXPECT_EQ(F16(-0.0f).bits, 0x8000u);
  EXPECT_EQ(F16(std::numeric_limits<float>::denorm_min()).bits, 0u);
}

}  // namespace
}  // namespace midfill
