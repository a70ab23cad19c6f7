#include "kernels/adamw.h"

#include <cmath>
#include <limits>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

constexpr int64_t kN = 20011;
// Two rates of decay; [0, 5), [10003, 10010) and the last element belong to no span.
const DecaySpan kDecay[] = {{5, 10003, 0.1f}, {10010, 10010, 0.5f}, {10010, kN - 1, 0.0f}};

struct State {
  std::vector<float> params = test::random_floats(kN, 1), m = std::vector<float>(kN),
                     v = std::vector<float>(kN), grads = std::vector<float>(kN);
  std::vector<Bf16> weights = std::vector<Bf16>(kN, Bf16(-1.0f));
  double sum_squares = 1.0;
  int32_t updates = 0, nonfinite = 0;

  AdamW op() {
    return {.params = Tensor::of(params.data(), {kN}),
            .weights = Tensor::of(weights.data(), {kN}),
            .m = Tensor::of(m.data(), {kN}),
            .v = Tensor::of(v.data(), {kN}),
            .updates = Tensor::of(&updates, {1}),
            .grads = Tensor::of(grads.data(), {kN}),
            .sum_squares = Tensor::of(&sum_squares, {1}),
            .nonfinite = Tensor::of(&nonfinite, {1}),
            .decay = kDecay,
            .lr = 3e-3f,
            .eps = 1e-8f,
            .total_weight = 4.0};
  }

  void run(int threads, int64_t steps) {
    test::OpDevice device(threads);
    for (int64_t step = 1; step <= steps; ++step) {
      grads = test::random_floats(kN, 100 + static_cast<uint64_t>(step), 0.01);
      device.run(op());
    }
  }

  void expect_bits_of(const State& other) const {
    EXPECT_TRUE(test::same_bits(params, other.params));
    EXPECT_TRUE(test::same_bits(m, other.m));
    EXPECT_TRUE(test::same_bits(v, other.v));
    EXPECT_EQ(updates, other.updates);
    for (size_t i = 0; i < weights.size(); ++i)
      ASSERT_EQ(weights[i].bits, other.weights[i].bits) << i;
  }
};

bool in_a_span(size_t i) {
  const auto at = static_cast<int64_t>(i);
  return (5 <= at && at < 10003) || (10010 <= at && at < kN - 1);
}

TEST(AdamW, AgreesWithDoubleOverTenSteps) {
  State state;
  const std::vector<float> start = state.params;
  std::vector<double> p = test::to_double(start), m(kN), v(kN), travelled(kN);
  state.run(2, 10);
  const AdamW op = state.op();
  const auto lr = static_cast<double>(op.lr), beta1 = static_cast<double>(op.beta1),
             beta2 = static_cast<double>(op.beta2), eps = static_cast<double>(op.eps);
  for (int step = 1; step <= 10; ++step) {
    const auto grads = test::random_floats(kN, 100 + static_cast<uint64_t>(step), 0.01);
    for (size_t i = 0; i < p.size(); ++i) {
      if (!in_a_span(i)) continue;
      const double decay = i < 10003 ? static_cast<double>(0.1f) : 0.0;
      const double g = 0.25 * static_cast<double>(grads[i]);
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(beta1, step));
      const double v_hat = v[i] / (1 - std::pow(beta2, step));
      const double before = p[i];
      p[i] = p[i] * (1 - lr * decay) - lr * m_hat / (std::sqrt(v_hat) + eps);
      // The size of an update is lr where the moments agree; m may cancel without v.
      travelled[i] += lr + std::abs(p[i] - before);
    }
  }
  std::vector<double> tolerances(kN), m_tolerances(kN);
  for (size_t i = 0; i < p.size(); ++i) {
    // Each step rounds the parameter once.
    tolerances[i] = 10 * 6e-8 * std::abs(p[i]) + 1e-6 * travelled[i];
    m_tolerances[i] = 1e-6 * (std::abs(m[i]) + std::sqrt(v[i]));
  }
  EXPECT_TRUE(test::all_near(state.params, p, tolerances));
  EXPECT_TRUE(test::all_near(state.m, m, m_tolerances));
  EXPECT_TRUE(test::all_near(state.v, v, {.relative = 2e-6}));
  for (size_t i = 0; i < p.size(); ++i) {
    if (!in_a_span(i)) {
      EXPECT_EQ(state.params[i], start[i]) << i;
    }
    const Bf16 weight(in_a_span(i) ? state.params[i] : -1.0f);
    ASSERT_EQ(state.weights[i].bits, weight.bits) << i;
  }
  EXPECT_EQ(state.updates, 10);
}

TEST(AdamW, ClipsTheMeanGradient) {
  for (const double clip : {0.0, 0.5, 2.0, 3.0}) {
    State state;
    state.grads = test::random_floats(kN, 7);
    state.sum_squares = 64.0;  // norm 2 over a total weight of 4
    AdamW op = state.op();
    op.beta1 = 0.0f;  // m is the gradient as the update saw it
    op.clip = clip;
    op.nonfinite = Tensor();
    op.weights = Tensor();
    test::OpDevice(2).run(op);
    const double scale = clip == 0.5 ? 0.25 / 4 : 1.0 / 4;
    for (size_t i = 0; i < state.m.size(); ++i)
      ASSERT_EQ(state.m[i], in_a_span(i) ? static_cast<float>(scale) * state.grads[i] : 0.0f) << i;
  }
}

TEST(AdamW, NothingChangesWhereTheUpdateIsNotFinite) {
  const State before;
  const auto expect_unchanged = [&](double sum_squares, int32_t nonfinite) {
    State state;
    state.grads = test::random_floats(kN, 7);
    state.sum_squares = sum_squares;
    state.nonfinite = nonfinite;
    test::OpDevice(2).run(state.op());
    state.expect_bits_of(before);
  };
  expect_unchanged(std::nan(""), 0);
  expect_unchanged(std::numeric_limits<double>::infinity(), 0);
  expect_unchanged(1.0, 1);
}

// More spans than one launch carries; borders at every place within a vector, with and without
// gaps.
TEST(AdamW, EachSpanHasItsOwnDecay) {
  State state;
  std::vector<DecaySpan> decay;
  for (int64_t begin = 3, i = 0; begin < kN - 60; ++i) {
    const int64_t end = begin + (i % 7 == 0 ? 0 : 1 + i % 53);
    decay.push_back({begin, end, 0.1f * static_cast<float>(i % 10)});
    begin = end + (i % 4 == 3 ? i % 9 : 0);
  }
  ASSERT_GT(decay.size(), 300u);
  std::vector<double> expected = test::to_double(state.params);
  AdamW op = state.op();
  op.decay = decay;
  op.lr = 0.5f;
  for (const DecaySpan& span : decay)
    for (auto i = static_cast<size_t>(span.begin); i < static_cast<size_t>(span.end); ++i)
      expected[i] *= 1 - 0.5 * static_cast<double>(span.weight_decay);
  test::OpDevice(2).run(op);  // the gradient is 0, so decay is all
  EXPECT_TRUE(test::all_near(state.params, expected, {.relative = 2e-7}));
}

TEST(AdamW, BitsDoNotDependOnTheWayOfRunning) {
  State expected;
  expected.run(1, 3);
  test::for_each_way([&](int threads) {
    State found;
    found.run(threads, 3);
    found.expect_bits_of(expected);
  });
}

TEST(AdamW, KeepsNan) {
  State state;
  state.grads[100] = std::nanf("");
  test::OpDevice(2).run(state.op());
  EXPECT_TRUE(std::isnan(state.params[100]));
  EXPECT_TRUE(std::isnan(state.m[100]));
  EXPECT_FALSE(std::isnan(state.params[99]));
}

TEST(AdamW, RefusesBadOperands) {
  test::OpDevice device(1);
  State state;
  AdamW op = state.op();
  op.total_weight = 0.0;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: total_weight is 0, expected more than 0");
  op = state.op();
  op.clip = -1.0;
  EXPECT_EQ(test::error_of([&] { device.run(op); }), "AdamW: clip is -1, expected at least 0");
  op = state.op();
  op.weights = op.params;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: weights is f32 (20011), expected bf16 (20011)");
  op = state.op();
  op.grads = op.m;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: m overlaps grads, expected memory of its own");
  op = state.op();
  op.v = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: operand v is missing, expected f32 (20011)");
  op = state.op();
  const DecaySpan crossed[] = {{0, 10, 0}, {9, 20, 0}};
  op.decay = crossed;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: decay[1] is [9, 20), expected ascending, disjoint and within 20011");
  op = state.op();
  op.beta2 = 1.0f;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: beta1 is 0.9, beta2 is 1, expected both in [0, 1)");
}

}  // namespace
}  // namespace midfill
