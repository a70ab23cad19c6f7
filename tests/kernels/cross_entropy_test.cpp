#include "kernels/cross_entropy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::all_near;
using Doubles = std::vector<double>;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Shape {
  int64_t N, vocab, Vp;
};

std::vector<Shape> shapes() {
  std::vector<Shape> supported;
  for (const Shape s : {Shape{1, 1, 1},
                        {1, 2, 2},
                        {3, 5, 7},
                        {4, 33, 33},
                        {1, 1, 8},
                        {3, 5, 8},
                        {5, 50, 64},
                        {2, 249, 264},
                        {2, 1100, 1104},
                        {7, 1024, 1024}})
    if (!test::supported_widths({s.Vp}).empty()) supported.push_back(s);
  return supported;
}

struct Case {
  Shape s;
  std::vector<float> logits, weights, loss, dlogits;
  std::vector<int32_t> targets, nonfinite{0};

  explicit Case(Shape shape, double scale = 3)
      : s(shape),
        logits(test::random_floats(s.N * s.Vp, 1, scale, 10)),
        weights(test::random_floats(s.N, 2, 0.2, 1)),
        loss(test::poisoned(s.N)),
        dlogits(test::poisoned(s.N * s.Vp)),
        targets(test::random_ids(s.N, static_cast<int32_t>(s.vocab), 3)) {
    // Padded columns hold anything, NaN included: they are not part of the softmax.
    for (int64_t n = 0; n < s.N; ++n)
      for (int64_t v = s.vocab; v < s.Vp; ++v)
        logits[static_cast<size_t>(n * s.Vp + v)] = v % 2 ? std::nanf("") : 1e30f;
  }

  CrossEntropy op(bool with_gradient = true) {
    return {.loss = Tensor::of(loss.data(), {s.N}),
            .dlogits = with_gradient ? Tensor::of(dlogits.data(), {s.N, s.Vp}) : Tensor(),
            .nonfinite = Tensor::of(nonfinite.data(), {1}),
            .logits = Tensor::of(logits.data(), {s.N, s.Vp}),
            .targets = Tensor::of(targets.data(), {s.N}),
            .weights = Tensor::of(weights.data(), {s.N}),
            .vocab = s.vocab};
  }

  Doubles row(int64_t n) const {
    const float* begin = logits.data() + n * s.Vp;
    return {begin, begin + s.vocab};
  }
};

double exact_loss(std::span<const double> row, int32_t target) {
  double max = row[0], sum = 0;
  for (double value : row) max = std::max(max, value);
  for (double value : row) sum += std::exp(value - max);
  return std::log(sum) + max - row[static_cast<size_t>(target)];
}

TEST(CrossEntropy, LossAgreesWithDoubleAndGradientWithFiniteDifferences) {
  for (const Shape shape : shapes()) {
    for (double scale : {0.1, 3.0, 30.0}) {
      SCOPED_TRACE(testing::Message() << shape.N << " " << shape.vocab << " scale " << scale);
      Case c(shape, scale);
      test::OpDevice(2).run(c.op());
      Doubles loss, gradient;
      for (int64_t n = 0; n < shape.N; ++n) {
        const int32_t target = c.targets[static_cast<size_t>(n)];
        const Doubles row = c.row(n);
        loss.push_back(exact_loss(row, target));
        const Doubles slope = test::finite_differences(
            [&](std::span<const double> at) { return exact_loss(at, target); }, row, 1e-3);
        for (int64_t v = 0; v < shape.Vp; ++v)
          gradient.push_back(v < shape.vocab
                                 ? static_cast<double>(c.weights[static_cast<size_t>(n)]) *
                                       slope[static_cast<size_t>(v)]
                                 : 0.0);
      }
      EXPECT_TRUE(all_near(c.loss, loss, {.absolute = 2e-6, .relative = 2e-6}));
      EXPECT_TRUE(all_near(c.dlogits, gradient, {.absolute = 1e-6}));
      EXPECT_EQ(c.nonfinite[0], 0);
      for (size_t i = 0; i < c.dlogits.size(); ++i) {
        if (static_cast<int64_t>(i) % shape.Vp >= shape.vocab) {
          EXPECT_EQ(c.dlogits[i], 0.0f) << i;
        }
      }
    }
  }
}

// The vocabulary of the reference model, and one that ends within a vector: each thread has many.
TEST(CrossEntropy, AgreesWithDoubleInWideRows) {
  for (const Shape shape : {Shape{2, 50280, 50304}, {3, 17003, 17008}}) {
    for (double scale : {0.1, 10.0}) {
      SCOPED_TRACE(testing::Message() << shape.vocab << " scale " << scale);
      Case c(shape, scale);
      c.targets.back() = static_cast<int32_t>(shape.vocab) - 1;
      test::OpDevice(2).run(c.op());
      Doubles loss, gradient;
      for (int64_t n = 0; n < shape.N; ++n) {
        const int32_t target = c.targets[static_cast<size_t>(n)];
        const double weight = c.weights[static_cast<size_t>(n)];
        const Doubles row = c.row(n);
        loss.push_back(exact_loss(row, target));
        const double log_sum = loss.back() + row[static_cast<size_t>(target)];
        for (double value : row) gradient.push_back(weight * std::exp(value - log_sum));
        gradient[static_cast<size_t>(n * shape.Vp + target)] -= weight;
        gradient.resize(static_cast<size_t>((n + 1) * shape.Vp));
      }
      EXPECT_TRUE(all_near(c.loss, loss, {.absolute = 2e-6, .relative = 2e-6}));
      EXPECT_TRUE(all_near(c.dlogits, gradient, {.absolute = 1e-6}));
    }
  }
}

TEST(CrossEntropy, GradientMayTakeThePlaceOfTheLogits) {
  for (const Shape shape : {Shape{5, 50, 64}, {2, 4500, 4504}}) {
    Case apart(shape), over(shape);
    test::OpDevice device(2);
    device.run(apart.op());
    CrossEntropy op = over.op();
    op.dlogits = op.logits;
    device.run(op);
    EXPECT_TRUE(test::same_bits(apart.loss, over.loss));
    EXPECT_TRUE(test::same_bits(apart.dlogits, over.logits));
  }
}

TEST(CrossEntropy, WithoutGradientOnlyReadsTheLogits) {
  Case with({7, 1024, 1024}), without({7, 1024, 1024});
  const std::vector<float> before = without.logits;
  test::OpDevice device(2);
  device.run(with.op());
  device.run(without.op(false));
  EXPECT_TRUE(test::same_bits(before, without.logits));
  EXPECT_TRUE(test::same_bits(with.loss, without.loss));
}

TEST(CrossEntropy, WeightZeroIsZeroWhateverTheRowHolds) {
  Case c({3, 20, 24});
  c.weights[1] = 0;
  c.targets[1] = -7;
  c.logits[30] = std::nanf("");
  test::OpDevice(2).run(c.op());
  EXPECT_EQ(c.loss[1], 0.0f);
  for (size_t v = 24; v < 48; ++v) EXPECT_EQ(c.dlogits[v], 0.0f);
  EXPECT_GT(c.loss[0], 0.0f);
  EXPECT_EQ(c.nonfinite[0], 0);
}

TEST(CrossEntropy, NonFiniteLogits) {
  for (const float bad : {std::nanf(""), kInf}) {
    for (size_t column : {size_t{0}, size_t{7}, size_t{19}}) {
      Case c({3, 20, 24});
      c.logits[24 + column] = bad;
      test::OpDevice(2).run(c.op());
      EXPECT_TRUE(std::isnan(c.loss[1])) << bad << " " << column;
      EXPECT_TRUE(std::isnan(c.dlogits[24])) << bad << " " << column;
      EXPECT_FALSE(std::isnan(c.loss[0]));
      EXPECT_FALSE(std::isnan(c.loss[2]));
      EXPECT_EQ(c.nonfinite[0], 1);
    }
  }
  Case impossible({2, 20, 24});  // the target's probability is 0
  impossible.targets[1] = 3;
  impossible.logits[27] = -kInf;
  test::OpDevice(1).run(impossible.op());
  EXPECT_EQ(impossible.loss[1], kInf);
  EXPECT_EQ(impossible.nonfinite[0], 1);
  Case c({1, 20, 24});  // -inf is a probability of 0, and may fill vectors
  c.targets[0] = 18;
  std::fill_n(c.logits.begin(), 17, -kInf);
  test::OpDevice(1).run(c.op());
  EXPECT_TRUE(std::isfinite(c.loss[0]));
  for (size_t v = 0; v < 17; ++v) EXPECT_EQ(c.dlogits[v], 0.0f) << v;
  EXPECT_EQ(c.nonfinite[0], 0);
  c.nonfinite[0] = 1;  // once set it stays
  test::OpDevice(1).run(c.op());
  EXPECT_EQ(c.nonfinite[0], 1);
}

// A GPU cannot throw: the row says so itself, and nothing outside of it is touched.
TEST(CrossEntropy, BadTargets) {
  for (const int32_t bad : {-1, 20, 23, 24, 1 << 30, -(1 << 30)}) {
    Case c({3, 20, 24}), good({3, 20, 24});
    c.targets[1] = bad;
    if (!test::on_cuda()) {
      EXPECT_EQ(test::error_of([&] { test::OpDevice(1).run(c.op()); }),
                fmt::format("CrossEntropy: targets[1] is {}, expected 0 to 19", bad));
      EXPECT_TRUE(std::isnan(c.loss[0])) << "an op that throws leaves its outputs alone";
      continue;
    }
    test::OpDevice device(1);
    device.run(c.op());
    device.run(good.op());
    EXPECT_TRUE(std::isnan(c.loss[1]));
    EXPECT_EQ(c.nonfinite[0], 1);
    for (size_t i = 0; i < c.dlogits.size(); ++i) {
      if (i / 24 != 1)
        EXPECT_EQ(c.dlogits[i], good.dlogits[i]) << i;
      else if (i % 24 < 20)
        EXPECT_TRUE(std::isnan(c.dlogits[i])) << i;
      else
        EXPECT_EQ(c.dlogits[i], 0.0f) << i;
    }
  }
}

TEST(CrossEntropy, HugeLogitsDoNotOverflow) {
  Case c({1, 3, 8});
  std::copy_n(std::begin({1e30f, -1e30f, 5.0f}), 3, c.logits.begin());
  c.targets = {0};
  c.weights = {1.0f};
  test::OpDevice(1).run(c.op());
  EXPECT_EQ(c.loss[0], 0.0f);
  EXPECT_TRUE(all_near(c.dlogits, Doubles(8), {.absolute = 1e-6}));
}

TEST(CrossEntropy, IsTheSameHoweverItRuns) {
  Case expected({33, 1100, 1104});
  test::OpDevice(1).run(expected.op());
  test::for_each_way([&](int threads) {
    Case found({33, 1100, 1104});
    test::OpDevice(threads).run(found.op());
    EXPECT_TRUE(test::same_bits(expected.loss, found.loss));
    EXPECT_TRUE(test::same_bits(expected.dlogits, found.dlogits));
  });
}

TEST(CrossEntropy, RefusesBadOperands) {
  test::OpDevice device(1);
  Case c({3, 20, 24});
  CrossEntropy op = c.op();
  op.vocab = 25;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "CrossEntropy: vocab is 25, expected 1 to 24, the columns of logits");
  op = c.op();
  op.targets = op.weights;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "CrossEntropy: targets is f32 (3), expected i32 (3)");
  op = c.op();
  op.loss = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "CrossEntropy: operand loss is missing, expected f32 (3)");
  op = c.op();
  op.dlogits = Tensor(c.logits.data(), DType::bf16, {3, 24});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "CrossEntropy: dlogits overlaps logits, expected memory of its own");
  op = c.op();
  op.nonfinite = op.targets;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "CrossEntropy: nonfinite is i32 (3), expected i32 (1)");
  if (test::on_cuda()) {
    Case odd({3, 20, 20});
    EXPECT_EQ(test::error_of([&] { device.run(odd.op()); }),
              "CrossEntropy on cuda: width 20, expected a multiple of 8");
  }
}

TEST(CrossEntropy, Bf16ErrorIsThatOfRounding) {
  using Op = CrossEntropy;
  for (const Shape shape : {Shape{1, 8, 8}, {5, 50, 64}, {3, 1100, 1104}, {2, 17003, 17008}}) {
    SCOPED_TRACE(testing::Message() << shape.N << " " << shape.vocab);
    Case c(shape);
    Op op = c.op();
    EXPECT_TRUE(
        test::bf16_error_is_rounding(op, {&Op::dlogits, &Op::logits}, {&Op::loss, &Op::dlogits}));
    EXPECT_TRUE(test::bf16_error_is_rounding(op, {&Op::dlogits}, {&Op::loss, &Op::dlogits}))
        << "of logits in f32";
    op.dlogits = op.logits;
    EXPECT_TRUE(
        test::bf16_error_is_rounding(op, {&Op::dlogits, &Op::logits}, {&Op::loss, &Op::dlogits}))
        << "in place";
  }
}

}  // namespace
}  // namespace midfill
