// ex2 and the conversions between float and packed bf16.
#include <cmath>
#include <limits>

#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

__global__ void powers(const float* x, int n, float* y) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = ptx::ex2(x[i]);
}

__global__ void pack(const float* low, const float* high, int n, uint32_t* packed, float* low_again,
                     float* high_again) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  packed[i] = ptx::pack_bf16x2(low[i], high[i]);
  low_again[i] = ptx::low_bf16(packed[i]);
  high_again[i] = ptx::high_bf16(packed[i]);
}

float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof x);
  return bits;
}

// bf16 by definition: of the two neighbours of x the nearer one, of two equally near the one
// whose last bit is 0.
uint16_t nearest_bf16(float x) {
  if (std::isnan(x)) return 0x7fff;
  const uint16_t below = static_cast<uint16_t>(bits_of(x) >> 16);  // towards zero
  if (std::isinf(x) || (bits_of(x) & 0xffff) == 0) return below;
  const uint16_t above = static_cast<uint16_t>(below + 1);
  // Beyond the largest number comes 2^128, which stands for infinity.
  const double far =
      (above & 0x7fff) == 0x7f80 ? 0x1p+128 : std::fabs(double{from_bits(uint32_t{above} << 16)});
  const double to_below =
      std::fabs(double{x}) - std::fabs(double{from_bits(uint32_t{below} << 16)});
  const double to_above = far - std::fabs(double{x});
  if (to_below == to_above) return below % 2 == 0 ? below : above;
  return to_below < to_above ? below : above;
}

std::vector<float> awkward_floats() {
  std::vector<float> x;
  for (const uint32_t bits :
       {0x00000000u, 0x00000001u, 0x00007fffu, 0x00008000u, 0x00008001u, 0x00018000u,
        0x007fffffu, 0x00800000u, 0x3f800000u, 0x3f807fffu, 0x3f808000u, 0x3f808001u,
        0x3f818000u, 0x3f817fffu, 0x3fffffffu, 0x7f7f7fffu, 0x7f7f8000u, 0x7f7fffffu,
        0x7f800000u, 0x7f800001u, 0x7fa12345u, 0x7fc00000u, 0x7fffffffu})
    for (const uint32_t sign : {0u, 0x80000000u}) x.push_back(from_bits(bits | sign));
  Rng rng(8, Purpose::kTest);
  for (int i = 0; i < 3000; ++i) x.push_back(from_bits(rng.bits32()));
  return x;
}

using Scalar = Conformance;

TEST_F(Scalar, PackRoundsToNearestEven) {
  const std::vector<float> low = awkward_floats();
  const std::vector<float> high(low.rbegin(), low.rend());
  const int n = static_cast<int>(low.size());
  run([&] {
    Array<float> l(low), h(high), low_again(n), high_again(n);
    Array<uint32_t> packed(n);
    launch<pack>({.grid = (n + 127u) / 128, .block = 128}, l.data(), h.data(), n, packed.data(),
                 low_again.data(), high_again.data());
    const std::vector<uint32_t> got = packed.host();
    const std::vector<float> got_low = low_again.host(), got_high = high_again.host();
    for (int i = 0; i < n; ++i) {
      const uint32_t expected = nearest_bf16(low[i]) | uint32_t{nearest_bf16(high[i])} << 16;
      EXPECT_EQ(got[i], expected) << std::hex << "of " << bits_of(low[i]) << " and "
                                  << bits_of(high[i]);
      EXPECT_EQ(bits_of(got_low[i]), expected << 16);
      EXPECT_EQ(bits_of(got_high[i]), expected & 0xffff0000u);
    }
  });
}

TEST_F(Scalar, PowersOfTwo) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> x = {-kInf,
                          kInf,
                          from_bits(0x7fa12345),
                          from_bits(0xffc00000),
                          0.0f,
                          -0.0f,
                          from_bits(1),
                          from_bits(0x807fffff),
                          -126.5f,
                          -149.0f,
                          -1000.0f,
                          -3.0e38f,
                          128.0f,
                          1000.0f,
                          3.0e38f,
                          1.0e-30f};
  const size_t specials = x.size();
  Rng rng(9, Purpose::kTest);
  for (int i = 0; i < 4000; ++i) x.push_back(static_cast<float>(rng.uniform() * 253.5 - 125.75));
  for (int i = -125; i < 128; ++i) x.push_back(static_cast<float>(i));
  const int n = static_cast<int>(x.size());
  run([&] {
    Array<float> in(x), out(n);
    launch<powers>({.grid = (n + 127u) / 128, .block = 128}, in.data(), n, out.data());
    const std::vector<float> got = out.host();
    const float expected[] = {0, kInf, NAN, NAN, 1, 1, 1, 1, 0, 0, 0, 0, kInf, kInf, kInf, 1};
    for (size_t i = 0; i < specials; ++i)
      EXPECT_TRUE(std::isnan(expected[i]) ? std::isnan(got[i]) : got[i] == expected[i])
          << "2^" << x[i] << " is " << got[i] << ", expected " << expected[i];
    for (int i = static_cast<int>(specials); i < n; ++i) {
      const double exact = std::exp2(double{x[i]});
      EXPECT_LE(std::fabs(got[i] - exact), 0x1p-22 * exact) << "2^" << x[i];
    }
  });
}

}  // namespace
}  // namespace midfill::test
