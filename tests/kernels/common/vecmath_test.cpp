#include "kernels/common/vecmath.h"

#include <cmath>
#include <limits>

#include "tests/support/numerics.h"

namespace midfill {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(VecMath, ExpIsWithinTwoUlpOverItsWholeRange) {
  std::vector<float> found;
  std::vector<double> expected, tolerances;
  for (double x = -103.0; x < 88.72; x += 0.00371) {
    const auto point = static_cast<float>(x);
    const double value = std::exp(static_cast<double>(point));
    found.push_back(fast_exp(point));
    expected.push_back(value);
    // 2 ulp; the spacing of subnormal numbers where that is larger
    tolerances.push_back(std::max(2 * 1.2e-7 * value, 1.5e-45));
  }
  EXPECT_TRUE(test::all_near(found, expected, tolerances));
}

TEST(VecMath, ExpAtTheEdges) {
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-kInf), 0.0f);
  EXPECT_EQ(fast_exp(kInf), kInf);
  EXPECT_EQ(fast_exp(88.73f), kInf);
  EXPECT_EQ(fast_exp(-1e30f), 0.0f);
  EXPECT_EQ(fast_exp(1e30f), kInf);
  EXPECT_TRUE(std::isnan(fast_exp(std::nanf(""))));
  EXPECT_TRUE(std::isnan(fast_exp(-std::nanf(""))));
}

TEST(VecMath, NormalTailRatio) {
  std::vector<float> found;
  std::vector<double> expected;
  for (double z = 0; z <= 13; z += 0.00173) {
    const auto point = static_cast<float>(z);
    const auto exact = static_cast<double>(point);
    found.push_back(normal_tail_ratio(point));
    expected.push_back(0.5 * std::erfc(exact / std::sqrt(2.0)) * std::exp(exact * exact / 2));
  }
  EXPECT_TRUE(test::all_near(found, expected, {.relative = 4e-7}));
}

}  // namespace
}  // namespace midfill
