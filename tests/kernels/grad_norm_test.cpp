#include "kernels/grad_norm.h"

#include <cmath>
#include <limits>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

double squared_norm(const std::vector<float>& x, int threads) {
  double out = std::nan("");
  test::OpDevice(threads).run(SquaredNorm{
      .out = Tensor::of(&out, {1}), .x = Tensor::of(x.data(), {static_cast<int64_t>(x.size())})});
  return out;
}

TEST(SquaredNorm, AgreesWithLongDoubleAndForAnyWayOfRunning) {
  for (int64_t n : {1, 7, 4095, 4096, 4097, 16383, 16385, 100003}) {
    const auto x = test::random_floats(n, static_cast<uint64_t>(n), 3);
    long double expected = 0;
    for (float value : x) expected += static_cast<long double>(value) * value;
    const double found = squared_norm(x, 1);
    EXPECT_NEAR(found, static_cast<double>(expected), 1e-12 * static_cast<double>(expected));
    test::for_each_way([&](int threads) { EXPECT_EQ(squared_norm(x, threads), found); });
  }
}

TEST(SquaredNorm, IsFiniteForLargeValuesAndNotForBadOnes) {
  std::vector<float> x(9000, 1e30f);
  EXPECT_NEAR(squared_norm(x, 2) / 9e63, 1.0, 1e-6);
  x[8999] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(std::isfinite(squared_norm(x, 2)));
  x[8999] = std::nanf("");
  EXPECT_TRUE(std::isnan(squared_norm(x, 2)));
}

TEST(SquaredNorm, RefusesBadOperands) {
  test::OpDevice device(1);
  std::vector<float> x(3);
  float wrong = 0;
  EXPECT_EQ(
      test::error_of([&] {
        device.run(SquaredNorm{.out = Tensor::of(&wrong, {1}), .x = Tensor::of(x.data(), {3})});
      }),
      "SquaredNorm: out is f32 (1), expected f64 (1)");
  double out = 0;
  EXPECT_EQ(test::error_of([&] {
              device.run(SquaredNorm{.out = Tensor::of(&out, {1}), .x = Tensor::of(x.data(), {0})});
            }),
            "SquaredNorm: x is f32 (0), expected at least one element");
}

}  // namespace
}  // namespace midfill
