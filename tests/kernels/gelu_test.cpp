#include "kernels/gelu.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::all_near;
using Doubles = std::vector<double>;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Gelu kKinds[] = {Gelu::tanh, Gelu::erf};

struct Shape {
  int64_t N, F;
};
// Those that the device under test takes.
std::vector<Shape> shapes() {
  if (test::on_cuda()) return {{1, 8}, {3, 24}, {65, 264}, {130, 520}};
  return {{1, 1}, {1, 9}, {3, 5}, {5, 1}, {67, 33}, {130, 100}};
}
Shape larger_shape() {
  return {333, test::on_cuda() ? 40 : 37};
}

double exact(Gelu kind, double h) {
  if (kind == Gelu::erf) return 0.5 * h * std::erfc(-h / std::numbers::sqrt2);
  const double u = std::sqrt(2 / std::numbers::pi) * (h + 0.044715 * h * h * h);
  return h / (1 + std::exp(-2 * u));  // 0.5 h (1 + tanh u) without its cancellation
}

double exact_derivative(Gelu kind, double h) {
  return test::finite_difference([&](std::span<const double> at) { return exact(kind, at[0]); },
                                 {h}, 0, 1e-3);
}

struct Case {
  int64_t N, F;
  std::vector<float> x, bias, y, dy, dx, dbias;

  explicit Case(Shape s)
      : N(s.N),
        F(s.F),
        x(test::random_floats(N * F, 1, 2)),
        bias(test::random_floats(F, 2)),
        y(test::poisoned(N * F)),
        dy(test::random_floats(N * F, 3)),
        dx(test::poisoned(N * F)),
        dbias(test::random_floats(F, 4)) {}

  // The function at single points, and its derivative there: dy = 1.
  static Case at(std::vector<float> points) {
    while (points.size() % 8 != 0) points.push_back(points.back());
    Case c(Shape{1, static_cast<int64_t>(points.size())});
    c.x = points;
    std::fill(c.dy.begin(), c.dy.end(), 1.0f);
    return c;
  }

  GeluForward forward(Gelu kind, bool with_bias) {
    return {.y = Tensor::of(y.data(), {N, F}),
            .x = Tensor::of(x.data(), {N, F}),
            .bias = with_bias ? Tensor::of(bias.data(), {F}) : Tensor(),
            .kind = kind};
  }

  GeluBackward backward(Gelu kind, bool with_bias) {
    return {.dx = Tensor::of(dx.data(), {N, F}),
            .dbias = with_bias ? Tensor::of(dbias.data(), {F}) : Tensor(),
            .dy = Tensor::of(dy.data(), {N, F}),
            .x = Tensor::of(x.data(), {N, F}),
            .bias = with_bias ? Tensor::of(bias.data(), {F}) : Tensor(),
            .kind = kind};
  }

  // What the op adds is the f32 sum; its rounding is part of neither form.
  double h(size_t i, bool with_bias) const {
    return static_cast<double>(with_bias ? x[i] + bias[i % bias.size()] : x[i]);
  }
};

std::vector<float> sweep() {
  std::vector<float> points;
  for (int i = -20000; i <= 20000; ++i) points.push_back(static_cast<float>(i) * 0.001f);
  for (float size = 1e-38f; size < 2; size *= 7) {
    points.push_back(size);
    points.push_back(-size);
  }
  return points;
}

TEST(GeluForward, AgreesWithDoubleEverywhere) {
  for (const Gelu kind : kKinds) {
    Case c = Case::at(sweep());
    test::OpDevice(2).run(c.forward(kind, false));
    Doubles y;
    for (float x : c.x) y.push_back(exact(kind, static_cast<double>(x)));
    EXPECT_TRUE(all_near(c.y, y, {.absolute = 1e-6, .relative = 1e-6}));
  }
}

TEST(GeluForward, AgreesWithDoubleForAwkwardShapes) {
  for (const Gelu kind : kKinds) {
    for (const Shape shape : shapes()) {
      for (bool with_bias : {false, true}) {
        Case c(shape);
        test::OpDevice(2).run(c.forward(kind, with_bias));
        Doubles y;
        for (size_t i = 0; i < c.x.size(); ++i) y.push_back(exact(kind, c.h(i, with_bias)));
        EXPECT_TRUE(all_near(c.y, y, {.absolute = 1e-6, .relative = 1e-6}));
      }
    }
  }
}

TEST(GeluForward, LimitsAndNan) {
  for (const Gelu kind : kKinds) {
    Case c = Case::at({kInf, -kInf, 1e30f, -1e30f, 0.0f, std::nanf(""), 50.0f, -50.0f});
    test::OpDevice(1).run(c.forward(kind, false));
    EXPECT_EQ(c.y[0], kInf);
    EXPECT_NEAR(c.y[1], 0.0f, 1e-20f);
    EXPECT_EQ(c.y[2], 1e30f);
    EXPECT_NEAR(c.y[3], 0.0f, 1e-20f);
    EXPECT_EQ(c.y[4], 0.0f);
    EXPECT_TRUE(std::isnan(c.y[5]));
    EXPECT_EQ(c.y[6], 50.0f);
    EXPECT_NEAR(c.y[7], 0.0f, 1e-20f);
  }
}

TEST(GeluForward, RefusesBadOperands) {
  test::OpDevice device(1);
  Case c({3, 8});
  GeluForward op = c.forward(Gelu::erf, true);
  op.y = op.x;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "GeluForward: y overlaps x, expected memory of its own");
  op = c.forward(Gelu::erf, true);
  op.bias = Tensor::of(c.bias.data(), {3});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "GeluForward: bias is f32 (3), expected f32 (8)");
  op.x = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "GeluForward: operand x is missing, expected f32 or bf16 of rank 2");
  if (test::on_cuda()) {
    EXPECT_EQ(test::error_of([&] {
                device.run(Case({3, 37}).forward(Gelu::erf, true));
              }),
              "GeluForward on cuda: width 37, expected a multiple of 8");
  }
}

TEST(GeluForward, Bf16ErrorIsThatOfRounding) {
  for (const Gelu kind : kKinds) {
    for (bool with_bias : {false, true}) {
      Case c({67, 264});
      EXPECT_TRUE(test::bf16_error_is_rounding(
          c.forward(kind, with_bias), {&GeluForward::y, &GeluForward::x, &GeluForward::bias},
          {&GeluForward::y}));
    }
  }
}

TEST(GeluBackward, AgreesWithFiniteDifferencesEverywhere) {
  for (const Gelu kind : kKinds) {
    Case c = Case::at(sweep());
    test::OpDevice(2).run(c.backward(kind, false));
    Doubles dx;
    for (float x : c.x) dx.push_back(exact_derivative(kind, static_cast<double>(x)));
    EXPECT_TRUE(all_near(c.dx, dx, {.absolute = 2e-6, .relative = 2e-6}));
  }
}

TEST(GeluBackward, AgreesWithFiniteDifferencesForAwkwardShapes) {
  for (const Gelu kind : kKinds) {
    for (const Shape shape : shapes()) {
      for (bool with_bias : {false, true}) {
        SCOPED_TRACE(testing::Message() << shape.N << " x " << shape.F << " " << with_bias);
        Case c(shape);
        Doubles dbias = test::to_double(c.dbias), dbias_tolerances = dbias;
        for (double& size : dbias_tolerances) size = 2e-6 * std::abs(size) + 2e-6;
        test::OpDevice(2).run(c.backward(kind, with_bias));
        Doubles dx, tolerances;
        for (size_t i = 0; i < c.x.size(); ++i) {
          const auto dy = static_cast<double>(c.dy[i]);
          const double derivative = exact_derivative(kind, c.h(i, with_bias));
          dx.push_back(dy * derivative);
          tolerances.push_back(2e-6 * std::abs(dy) * (1 + std::abs(derivative)));
          dbias[i % dbias.size()] += dx.back();
          dbias_tolerances[i % dbias.size()] += tolerances.back();
        }
        EXPECT_TRUE(all_near(c.dx, dx, tolerances));
        if (with_bias) {
          EXPECT_TRUE(all_near(c.dbias, dbias, dbias_tolerances));
        }
      }
    }
  }
}

TEST(GeluBackward, LimitsAndNan) {
  for (const Gelu kind : kKinds) {
    Case c = Case::at({kInf, -kInf, 1e30f, -1e30f, 0.0f, std::nanf("")});
    test::OpDevice(1).run(c.backward(kind, false));
    EXPECT_EQ(c.dx[0], 1.0f);
    EXPECT_NEAR(c.dx[1], 0.0f, 1e-20f);
    EXPECT_EQ(c.dx[2], 1.0f);
    EXPECT_NEAR(c.dx[3], 0.0f, 1e-20f);
    EXPECT_NEAR(c.dx[4], 0.5f, 1e-6f);
    EXPECT_TRUE(std::isnan(c.dx[5]));
  }
}

TEST(GeluBackward, MayWriteOverDy) {
  for (const Gelu kind : kKinds) {
    for (bool with_bias : {false, true}) {
      Case apart(larger_shape()), over(larger_shape());
      test::OpDevice device(2);
      device.run(apart.backward(kind, with_bias));
      GeluBackward op = over.backward(kind, with_bias);
      op.dx = op.dy;
      device.run(op);
      EXPECT_TRUE(test::same_bits(apart.dx, over.dy));
      EXPECT_TRUE(test::same_bits(apart.dbias, over.dbias));
    }
  }
}

TEST(Gelu, BitsDoNotDependOnTheWayOfRunning) {
  for (const Gelu kind : kKinds) {
    for (bool with_bias : {false, true}) {
      Case expected(larger_shape());
      test::OpDevice one(1);
      one.run(expected.forward(kind, with_bias));
      one.run(expected.backward(kind, with_bias));
      test::for_each_way([&](int threads) {
        Case found(larger_shape());
        test::OpDevice device(threads);
        device.run(found.forward(kind, with_bias));
        device.run(found.backward(kind, with_bias));
        EXPECT_TRUE(test::same_bits(expected.y, found.y));
        EXPECT_TRUE(test::same_bits(expected.dx, found.dx));
        EXPECT_TRUE(test::same_bits(expected.dbias, found.dbias));
      });
    }
  }
}

TEST(GeluBackward, Bf16ErrorIsThatOfRounding) {
  for (const Gelu kind : kKinds) {
    for (bool with_bias : {false, true}) {
      Case c({67, 264});
      EXPECT_TRUE(test::bf16_error_is_rounding(
          c.backward(kind, with_bias),
          {&GeluBackward::dx, &GeluBackward::dy, &GeluBackward::x, &GeluBackward::bias},
          {&GeluBackward::dx, &GeluBackward::dbias}));
    }
  }
}

TEST(GeluBackward, RefusesBadOperands) {
  test::OpDevice device(1);
  Case c({3, 8});
  GeluBackward op = c.backward(Gelu::tanh, true);
  op.dbias = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "GeluBackward: bias is given without dbias, expected both or neither");
  op = c.backward(Gelu::tanh, false);
  op.dx = op.x;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "GeluBackward: dx overlaps x, expected memory of its own");
  op = c.backward(Gelu::tanh, false);
  op.dy = Tensor::of(c.dy.data(), {8, 3});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "GeluBackward: dy is f32 (8, 3), expected f32 (3, 8)");
  if (test::on_cuda()) {
    EXPECT_EQ(test::error_of([&] {
                device.run(Case({3, 37}).backward(Gelu::erf, true));
              }),
              "GeluBackward on cuda: width 37, expected a multiple of 8");
  }
}

}  // namespace
}  // namespace midfill
