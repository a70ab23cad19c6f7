// For tests of numbers: seeded inputs, poisoned outputs, finite differences, and comparisons that
// NaN fails.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace midfill::test {

// n draws of N(mean, scale^2); another `key`, other numbers.
std::vector<float> random_floats(int64_t n, uint64_t key, double scale = 1.0, double mean = 0.0);
// n draws from [0, limit).
std::vector<int32_t> random_ids(int64_t n, int32_t limit, uint64_t key);
// n NaNs: what an op does not write shows up in the comparison.
std::vector<float> poisoned(int64_t n);
std::vector<double> to_double(std::span<const float> values);

// d f / d at[i] by central differences (five points), at the given element or at all of them. `f`
// is computed in double, and smooth over at[i] +- 2 step.
using Scalar = std::function<double(std::span<const double>)>;
double finite_difference(const Scalar& f, std::vector<double> at, size_t i, double step = 1e-4);
std::vector<double> finite_differences(const Scalar& f, const std::vector<double>& at,
                                       double step = 1e-4);

// How far found[i] may be from expected[i]: absolute + relative * |expected[i]|.
struct Tolerance {
  double absolute = 0.0, relative = 0.0;
};

// Succeeds when the sizes agree and every element is within tolerance; NaN fails. The message names
// the first and the worst element, both values, the largest absolute and relative error and the
// worst share of the tolerance.
testing::AssertionResult all_near(std::span<const float> found, std::span<const double> expected,
                                  const Tolerance& tolerance);
// The same with a tolerance per element, for errors that scale with a sum of magnitudes.
testing::AssertionResult all_near(std::span<const float> found, std::span<const double> expected,
                                  std::span<const double> tolerances);

// Succeeds when both hold the same bits (equal NaNs count as equal).
testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b);

}  // namespace midfill::test
