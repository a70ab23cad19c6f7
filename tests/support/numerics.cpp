#include "tests/support/numerics.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/common/rng.h"

namespace midfill::test {

namespace {
constexpr uint64_t kSeed = 20220728;
}

std::vector<float> random_floats(int64_t n, uint64_t key, double scale, double mean) {
  Rng rng(kSeed, Purpose::kTest, 0, key);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = static_cast<float>(mean + scale * rng.normal());
  return values;
}

std::vector<int32_t> random_ids(int64_t n, int32_t limit, uint64_t key) {
  Rng rng(kSeed, Purpose::kTest, 1, key);
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(limit)));
  return ids;
}

std::vector<float> poisoned(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n), std::numeric_limits<float>::quiet_NaN());
}

std::vector<double> to_double(std::span<const float> values) {
  return {values.begin(), values.end()};
}

double finite_difference(const Scalar& f, std::vector<double> at, size_t i, double step) {
  const double x = at[i];
  const auto value = [&](double distance) {
    at[i] = x + distance;
    return f(at);
  };
  return (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step);
}

std::vector<double> finite_differences(const Scalar& f, const std::vector<double>& at,
                                       double step) {
  std::vector<double> gradient(at.size());
  for (size_t i = 0; i < at.size(); ++i) gradient[i] = finite_difference(f, at, i, step);
  return gradient;
}

testing::AssertionResult all_near(std::span<const float> found, std::span<const double> expected,
                                  const Tolerance& tolerance) {
  std::vector<double> tolerances(expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    tolerances[i] = tolerance.absolute + tolerance.relative * std::abs(expected[i]);
  return all_near(found, expected, tolerances);
}

testing::AssertionResult all_near(std::span<const float> found, std::span<const double> expected,
                                  std::span<const double> tolerances) {
  if (found.size() != expected.size() || expected.size() != tolerances.size())
    return testing::AssertionFailure()
           << fmt::format("{} elements found, {} expected, {} tolerances", found.size(),
                          expected.size(), tolerances.size());
  double max_error = 0, max_relative = 0, worst_share = -1;
  size_t failures = 0, first = 0, worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::abs(static_cast<double>(found[i]) - expected[i]);
    if (!(error <= tolerances[i]) && failures++ == 0) first = i;
    // An error that is not a number is the worst there is.
    const double share = std::isnan(error) ? std::numeric_limits<double>::infinity()
                         : error == 0      ? 0
                                           : error / tolerances[i];
    if (!(share <= worst_share)) {
      worst_share = share;
      worst = i;
    }
    max_error = std::max(max_error, error);
    if (expected[i] != 0) max_relative = std::max(max_relative, error / std::abs(expected[i]));
  }
  if (failures == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << fmt::format(
             "{} of {} elements are off; first [{}]: found {}, expected {}; worst [{}]: found {}, "
             "expected {}, "
             "{:.0f} % of the tolerance; max abs {:.3g}, max rel {:.3g}",
             failures, found.size(), first, found[first], expected[first], worst, found[worst],
             expected[worst], 100 * worst_share, max_error, max_relative);
}

testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size())
    return testing::AssertionFailure() << a.size() << " elements against " << b.size();
  for (size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]))
      return testing::AssertionFailure() << fmt::format("[{}]: {} against {}", i, a[i], b[i]);
  return testing::AssertionSuccess();
}

}  // namespace midfill::test
