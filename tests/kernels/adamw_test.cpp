#include "kernels/adamw.h"

#include <cmath>

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

  AdamW op(int64_t step) {
    return {.params = Tensor::of(params.data(), {kN}),
            .m = Tensor::of(m.data(), {kN}),
            .v = Tensor::of(v.data(), {kN}),
            .grads = Tensor::of(grads.data(), {kN}),
            .decay = kDecay,
            .lr = 3e-3f,
            .eps = 1e-8f,
            .grad_scale = 0.25f,
            .step = step};
  }

  void run(int threads, int64_t steps) {
    test::OpDevice device(threads);
    for (int64_t step = 1; step <= steps; ++step) {
      grads = test::random_floats(kN, 100 + static_cast<uint64_t>(step), 0.01);
      device.run(op(step));
    }
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
  const AdamW op = state.op(1);
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
  }
}

TEST(AdamW, IsTheSameForAnyThreadCount) {
  State expected;
  expected.run(1, 3);
  for (int threads : {2, 3}) {
    State found;
    found.run(threads, 3);
    EXPECT_TRUE(test::same_bits(expected.params, found.params));
    EXPECT_TRUE(test::same_bits(expected.m, found.m));
    EXPECT_TRUE(test::same_bits(expected.v, found.v));
  }
}

TEST(AdamW, KeepsNan) {
  State state;
  state.grads[100] = std::nanf("");
  test::OpDevice(2).run(state.op(1));
  EXPECT_TRUE(std::isnan(state.params[100]));
  EXPECT_TRUE(std::isnan(state.m[100]));
  EXPECT_FALSE(std::isnan(state.params[99]));
}

TEST(AdamW, RefusesBadOperands) {
  test::OpDevice device(1);
  State state;
  AdamW op = state.op(0);
  EXPECT_EQ(test::error_of([&] { device.run(op); }), "AdamW: step is 0, expected at least 1");
  op = state.op(1);
  op.grads = op.m;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: m overlaps grads, expected memory of its own");
  op = state.op(1);
  op.v = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: operand v is missing, expected f32 (20011)");
  op = state.op(1);
  const DecaySpan crossed[] = {{0, 10, 0}, {9, 20, 0}};
  op.decay = crossed;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: decay[1] is [9, 20), expected ascending, disjoint and within 20011");
  op = state.op(1);
  op.beta2 = 1.0f;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "AdamW: beta1 is 0.9, beta2 is 1, expected both in [0, 1)");
}

}  // namespace
}  // namespace midfill
