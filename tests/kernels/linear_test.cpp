#include "kernels/linear.h"

#include <cmath>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::all_near;
using Doubles = std::vector<double>;

struct Shape {
  int64_t N, I, O;
};
const Shape kShapes[] = {{1, 1, 1},   {1, 7, 3},    {3, 1, 1},    {4, 5, 1},    {5, 9, 17},
                         {33, 16, 8}, {67, 33, 21}, {130, 3, 65}, {1, 264, 24}, {3, 8, 264}};

// The same on the CPU; on cuda with widths that it takes, the next multiples of 8.
Shape supported(Shape s) {
  const auto up = [](int64_t n) { return test::on_cuda() ? (n + 7) / 8 * 8 : n; };
  return {s.N, up(s.I), up(s.O)};
}

// y = x w^T, in double.
Doubles product(const Doubles& x, const Doubles& w, Shape s) {
  Doubles y(static_cast<size_t>(s.N * s.O));
  for (int64_t n = 0; n < s.N; ++n)
    for (int64_t o = 0; o < s.O; ++o)
      for (int64_t i = 0; i < s.I; ++i)
        y[static_cast<size_t>(n * s.O + o)] +=
            x[static_cast<size_t>(n * s.I + i)] * w[static_cast<size_t>(o * s.I + i)];
  return y;
}

Doubles magnitudes(Doubles values) {
  for (double& value : values) value = std::abs(value);
  return values;
}

struct Linear {
  Shape s;
  std::vector<float> x, w, bias, residual, y, dy, dx, dw, dbias;

  explicit Linear(Shape shape)
      : s(shape),
        x(test::random_floats(s.N * s.I, 1)),
        w(test::random_floats(s.O * s.I, 2, 0.5)),
        bias(test::random_floats(s.O, 3)),
        residual(test::random_floats(s.N * s.O, 4)),
        y(test::poisoned(s.N * s.O)),
        dy(test::random_floats(s.N * s.O, 5)),
        dx(test::poisoned(s.N * s.I)),
        dw(test::random_floats(s.O * s.I, 6)),
        dbias(test::random_floats(s.O, 7)) {}

  LinearForward forward(bool with_bias, bool with_residual) {
    return {.y = Tensor::of(y.data(), {s.N, s.O}),
            .x = Tensor::of(x.data(), {s.N, s.I}),
            .w = Tensor::of(w.data(), {s.O, s.I}),
            .bias = with_bias ? Tensor::of(bias.data(), {s.O}) : Tensor(),
            .residual = with_residual ? Tensor::of(residual.data(), {s.N, s.O}) : Tensor()};
  }

  LinearBackward backward() {
    return {.dx = Tensor::of(dx.data(), {s.N, s.I}),
            .dw = Tensor::of(dw.data(), {s.O, s.I}),
            .dbias = Tensor::of(dbias.data(), {s.O}),
            .dy = Tensor::of(dy.data(), {s.N, s.O}),
            .x = Tensor::of(x.data(), {s.N, s.I}),
            .w = Tensor::of(w.data(), {s.O, s.I})};
  }
};

TEST(LinearForward, AgreesWithDouble) {
  for (const Shape narrow : kShapes) {
    const Shape shape = supported(narrow);
    for (bool with_bias : {false, true}) {
      for (bool with_residual : {false, true}) {
        SCOPED_TRACE(testing::Message() << shape.N << " " << shape.I << " " << shape.O << " "
                                        << with_bias << with_residual);
        Linear t(shape);
        test::OpDevice(2).run(t.forward(with_bias, with_residual));
        Doubles y = product(test::to_double(t.x), test::to_double(t.w), shape);
        Doubles tolerances =
            product(magnitudes(test::to_double(t.x)), magnitudes(test::to_double(t.w)), shape);
        for (size_t i = 0; i < y.size(); ++i) {
          const auto bias =
              with_bias ? static_cast<double>(t.bias[i % static_cast<size_t>(shape.O)]) : 0;
          const auto residual = with_residual ? static_cast<double>(t.residual[i]) : 0;
          y[i] += bias + residual;
          tolerances[i] = 2e-6 * (tolerances[i] + std::abs(bias) + std::abs(residual));
        }
        EXPECT_TRUE(all_near(t.y, y, tolerances));
      }
    }
  }
}

TEST(LinearForward, MayWriteOverTheResidual) {
  for (bool with_bias : {false, true}) {
    Linear apart(supported({67, 33, 21})), over(apart.s);
    test::OpDevice device(2);
    device.run(apart.forward(with_bias, true));
    LinearForward op = over.forward(with_bias, true);
    op.y = op.residual;
    device.run(op);
    EXPECT_TRUE(test::same_bits(apart.y, over.residual));
  }
}

TEST(LinearForward, IsTheSameEveryTimeAtOneThreadCount) {
  for (int threads : {1, 2, 3}) {
    Linear first(supported({130, 65, 70})), second(first.s);
    test::OpDevice device(threads);
    device.run(first.forward(true, true));
    device.run(second.forward(true, true));
    EXPECT_TRUE(test::same_bits(first.y, second.y));
  }
}

// Each product that runs at the same time packs its operands into memory of its own.
TEST(LinearForward, ProductsOfSeveralThreadsDoNotMeet) {
  Linear first(supported({130, 65, 70})), again(first.s);
  test::OpDevice device(4);
  device.run(first.forward(false, false));
  for (int i = 0; i < (test::on_cuda() ? 2 : 5000); ++i) {
    device.run(again.forward(false, false));
    ASSERT_TRUE(test::same_bits(first.y, again.y)) << i;
  }
}

TEST(LinearForward, KeepsNanEvenAgainstZeros) {
  Linear t(supported({5, 9, 17}));
  const auto I = static_cast<size_t>(t.s.I), O = static_cast<size_t>(t.s.O);
  t.x[I] = std::nanf("");
  std::fill(t.w.begin(), t.w.end(), 0.0f);
  test::OpDevice(2).run(t.forward(true, false));
  for (size_t i = 0; i < t.y.size(); ++i) EXPECT_EQ(std::isnan(t.y[i]), i / O == 1) << i;
}

TEST(LinearForward, RefusesBadOperands) {
  test::OpDevice device(1);
  Linear t({3, 4, 5});
  LinearForward op = t.forward(true, true);
  op.w = Tensor::of(t.w.data(), {4, 5});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: w is f32 (4, 5), expected f32 (4, 4)");
  op = t.forward(true, true);
  op.bias = Tensor::of(t.bias.data(), {4});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: bias is f32 (4), expected f32 (5)");
  op = t.forward(true, true);
  op.y = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: operand y is missing, expected f32 (3, 5)");
  std::vector<float> memory(64);
  op = t.forward(false, false);
  op.y = Tensor::of(memory.data(), {3, 5});
  op.x = Tensor::of(memory.data() + 3, {3, 4});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: y overlaps x, expected memory of its own");
  op = t.forward(false, false);
  op.x = Tensor::of(t.x.data(), {0, 4});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: x is f32 (0, 4), expected at least one element");
  std::vector<int32_t> ids(12);
  op.x = Tensor::of(ids.data(), {3, 4});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: x is i32 (3, 4), expected f32 or bf16 of rank 2");
  std::vector<Bf16> narrow(32);
  op = t.forward(false, false);
  op.w = Tensor::of(narrow.data(), {5, 4});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: w is bf16 (5, 4), expected f32 of rank 2");
  op = t.forward(true, false);
  op.x = Tensor::of(narrow.data(), {3, 4});
  op.w = Tensor::of(narrow.data(), {5, 4});
  op.bias = Tensor::of(narrow.data(), {5});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearForward: bias is bf16 (5), expected f32 (5)");
}

// In f32 from operands in bf16, as the logits may be.
TEST(LinearForward, Bf16OperandsF32Result) {
  for (const Shape narrow : kShapes) {
    const Shape s = supported(narrow);
    SCOPED_TRACE(testing::Message() << s.N << " " << s.I << " " << s.O);
    Linear t(s);
    for (float& x : t.x) x = static_cast<float>(Bf16(x));
    for (float& w : t.w) w = static_cast<float>(Bf16(w));
    const std::vector<Bf16> x(t.x.begin(), t.x.end()), w(t.w.begin(), t.w.end());
    LinearForward op = t.forward(true, true);
    op.x = Tensor::of(x.data(), {s.N, s.I});
    op.w = Tensor::of(w.data(), {s.O, s.I});
    test::OpDevice(2).run(op);
    Linear expected(s);
    expected.x = t.x;
    expected.w = t.w;
    test::OpDevice(2).run(expected.forward(true, true));
    EXPECT_TRUE(all_near(t.y, test::to_double(expected.y), {.absolute = 1e-5, .relative = 1e-5}));
  }
}

TEST(LinearForward, Bf16ErrorIsRounding) {
  for (const Shape narrow : kShapes) {
    for (bool with_bias : {false, true}) {
      for (bool with_residual : {false, true}) {
        const Shape s = supported(narrow);
        SCOPED_TRACE(testing::Message()
                     << s.N << " " << s.I << " " << s.O << " " << with_bias << with_residual);
        Linear t(s);
        EXPECT_TRUE(
            test::bf16_error_is_rounding(t.forward(with_bias, with_residual),
                                         {&LinearForward::y, &LinearForward::x, &LinearForward::w,
                                          &LinearForward::bias, &LinearForward::residual},
                                         {&LinearForward::y}));
      }
    }
  }
}

TEST(LinearForward, Bf16MayWriteOverTheResidual) {
  Linear t(supported({67, 33, 21}));
  LinearForward op = t.forward(true, true);
  op.y = op.residual;
  EXPECT_TRUE(test::bf16_error_is_rounding(op,
                                           {&LinearForward::y, &LinearForward::x, &LinearForward::w,
                                            &LinearForward::bias, &LinearForward::residual},
                                           {&LinearForward::y}));
}

TEST(LinearForward, Bf16RefusesOtherWidths) {
  test::OpDevice device(1);
  Linear t({3, 4, 8}), u({3, 8, 4});
  EXPECT_EQ(test::error_of([&] { device.run(t.forward(false, false)); }),
            "LinearForward on cuda: I 4, expected a multiple of 8");
  EXPECT_EQ(test::error_of([&] { device.run(u.backward()); }),
            "LinearBackward on cuda: O 4, expected a multiple of 8");
}

TEST(LinearBackward, AgreesWithFiniteDifferences) {
  for (const Shape narrow : kShapes) {
    const Shape shape = supported(narrow);
    SCOPED_TRACE(testing::Message() << shape.N << " " << shape.I << " " << shape.O);
    Linear t(shape);
    const Doubles dw_before = test::to_double(t.dw), dbias_before = test::to_double(t.dbias);
    test::OpDevice(2).run(t.backward());

    const Doubles x = test::to_double(t.x), w = test::to_double(t.w), dy = test::to_double(t.dy),
                  bias = test::to_double(t.bias);
    const auto loss = [&](const Doubles& at_x, const Doubles& at_w, const Doubles& at_bias) {
      const Doubles y = product(at_x, at_w, shape);
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += dy[i] * (y[i] + at_bias[i % at_bias.size()]);
      return sum;
    };
    using Point = std::span<const double>;
    // The loss is linear in each operand: a wide step costs nothing and rounds less.
    const Doubles dx = test::finite_differences(
        [&](Point at) {
          return loss({at.begin(), at.end()}, w, bias);
        },
        x, 0.1);
    Doubles dw = test::finite_differences(
        [&](Point at) {
          return loss(x, {at.begin(), at.end()}, bias);
        },
        w, 0.1);
    Doubles dbias = test::finite_differences(
        [&](Point at) {
          return loss(x, w, {at.begin(), at.end()});
        },
        bias, 0.1);

    Doubles dx_sizes(dx.size()), dw_sizes = magnitudes(dw_before),
                                 dbias_sizes = magnitudes(dbias_before);
    const auto I = static_cast<size_t>(shape.I), O = static_cast<size_t>(shape.O);
    for (size_t n = 0; n < static_cast<size_t>(shape.N); ++n) {
      for (size_t o = 0; o < O; ++o) {
        dbias_sizes[o] += std::abs(dy[n * O + o]);
        for (size_t i = 0; i < I; ++i) {
          dx_sizes[n * I + i] += std::abs(dy[n * O + o] * w[o * I + i]);
          dw_sizes[o * I + i] += std::abs(dy[n * O + o] * x[n * I + i]);
        }
      }
    }
    for (double& size : dx_sizes) size *= 2e-6;
    for (double& size : dw_sizes) size *= 2e-6;
    for (double& size : dbias_sizes) size *= 2e-6;
    for (size_t i = 0; i < dw.size(); ++i) dw[i] += dw_before[i];
    for (size_t i = 0; i < dbias.size(); ++i) dbias[i] += dbias_before[i];
    EXPECT_TRUE(all_near(t.dx, dx, dx_sizes));
    EXPECT_TRUE(all_near(t.dw, dw, dw_sizes));
    EXPECT_TRUE(all_near(t.dbias, dbias, dbias_sizes));
  }
}

TEST(LinearBackward, LeavesOutWhatIsNotAskedFor) {
  Linear all(supported({67, 33, 21})), some(all.s);
  test::OpDevice device(2);
  device.run(all.backward());
  LinearBackward op = some.backward();
  op.dx = op.dbias = op.w = Tensor();
  device.run(op);
  EXPECT_TRUE(test::same_bits(all.dw, some.dw));
  EXPECT_TRUE(std::isnan(some.dx[0]));
  EXPECT_TRUE(test::same_bits(some.dbias, test::random_floats(some.s.O, 7)));
}

TEST(LinearBackward, IsTheSameEveryTimeAtOneThreadCount) {
  for (int threads : {1, 2, 3}) {
    Linear first(supported({300, 65, 70})), second(first.s);
    test::OpDevice device(threads);
    device.run(first.backward());
    device.run(second.backward());
    EXPECT_TRUE(test::same_bits(first.dx, second.dx));
    EXPECT_TRUE(test::same_bits(first.dw, second.dw));
    EXPECT_TRUE(test::same_bits(first.dbias, second.dbias));
  }
}

TEST(LinearBackward, KeepsNan) {
  Linear t(supported({5, 9, 17}));
  const auto I = static_cast<size_t>(t.s.I), O = static_cast<size_t>(t.s.O);
  t.dy[O + 3] = std::nanf("");  // row 1
  test::OpDevice(2).run(t.backward());
  for (size_t i = 0; i < t.dx.size(); ++i) EXPECT_EQ(std::isnan(t.dx[i]), i / I == 1) << i;
  for (size_t i = 0; i < t.dw.size(); ++i) EXPECT_EQ(std::isnan(t.dw[i]), i / I == 3) << i;
  for (size_t i = 0; i < t.dbias.size(); ++i) EXPECT_EQ(std::isnan(t.dbias[i]), i == 3) << i;
}

TEST(LinearBackward, Bf16ErrorIsRounding) {
  for (const Shape narrow : kShapes) {
    const Shape s = supported(narrow);
    SCOPED_TRACE(testing::Message() << s.N << " " << s.I << " " << s.O);
    Linear t(s);
    EXPECT_TRUE(test::bf16_error_is_rounding(
        t.backward(),
        {&LinearBackward::dx, &LinearBackward::dy, &LinearBackward::x, &LinearBackward::w},
        {&LinearBackward::dx, &LinearBackward::dw, &LinearBackward::dbias}));
  }
}

TEST(LinearBackward, RefusesBadOperands) {
  test::OpDevice device(1);
  Linear t({3, 4, 5});
  LinearBackward op = t.backward();
  op.w = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearBackward: operand w is missing, expected f32 (5, 4)");
  op = t.backward();
  op.dy = Tensor::of(t.dy.data(), {5, 3});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearBackward: dy is f32 (5, 3), expected f32 (3, 5)");
  Linear square({3, 4, 4});
  op = square.backward();
  op.dx = op.dy;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LinearBackward: dx overlaps dy, expected memory of its own");
}

}  // namespace
}  // namespace midfill
