#include "kernels/layernorm.h"

#include <algorithm>
#include <cmath>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::all_near;
using Doubles = std::vector<double>;

constexpr double kEps = 1e-5;

struct Shape {
  int64_t N, C;
};

std::vector<Shape> supported(std::initializer_list<Shape> shapes) {
  std::vector<Shape> found;
  for (const Shape shape : shapes)
    if (!test::supported_widths({shape.C}).empty()) found.push_back(shape);
  return found;
}

std::vector<Shape> small_shapes() {
  return supported(
      {{1, 1}, {1, 8}, {3, 5}, {5, 1}, {7, 33}, {67, 16}, {130, 37}, {33, 40}, {3, 264}});
}

// On cuda a lane or a thread has another number of columns for each of these, or a block of several
// rows more than one turn.
std::vector<Shape> large_shapes() {
  return supported({{4099, 8},
                    {2, 248},
                    {3, 512},
                    {6, 776},
                    {5, 1544},
                    {9, 2048},
                    {1, 2568},
                    {1, 4096},
                    {3, 4104},
                    {1, 5120},
                    {1, 8200}});
}

struct Moments {
  double mean, rstd;
};

Moments moments(std::span<const double> row) {
  double mean = 0, var = 0;
  for (double value : row) mean += value / static_cast<double>(row.size());
  for (double value : row) var += (value - mean) * (value - mean) / static_cast<double>(row.size());
  return {mean, 1 / std::sqrt(var + kEps)};
}

// The reference: one row, in double.
Doubles normalise(std::span<const double> row, const Doubles& gamma, const Doubles& beta) {
  const auto [mean, rstd] = moments(row);
  Doubles y(row.size());
  for (size_t c = 0; c < y.size(); ++c) y[c] = (row[c] - mean) * rstd * gamma[c] + beta[c];
  return y;
}

struct Forward {
  int64_t N, C;
  std::vector<float> x, gamma, beta, gamma2, beta2, y, y2, mean, rstd;

  explicit Forward(Shape shape, double offset = 0.3)
      : N(shape.N),
        C(shape.C),
        x(test::random_floats(N * C, 1, 1.5, offset)),
        gamma(test::random_floats(C, 2, 0.3, 1)),
        beta(test::random_floats(C, 3, 0.5)),
        gamma2(test::random_floats(C, 8, 0.5, 0.5)),
        beta2(test::random_floats(C, 9, 0.5)),
        y(test::poisoned(N * C)),
        y2(test::poisoned(N * C)),
        mean(test::poisoned(N)),
        rstd(test::poisoned(N)) {}

  LayerNormForward op(bool two = false) {
    LayerNormForward op{.y = Tensor::of(y.data(), {N, C}),
                        .mean = Tensor::of(mean.data(), {N}),
                        .rstd = Tensor::of(rstd.data(), {N}),
                        .x = Tensor::of(x.data(), {N, C}),
                        .gamma = Tensor::of(gamma.data(), {C}),
                        .beta = Tensor::of(beta.data(), {C})};
    if (two) {
      op.y2 = Tensor::of(y2.data(), {N, C});
      op.gamma2 = Tensor::of(gamma2.data(), {C});
      op.beta2 = Tensor::of(beta2.data(), {C});
    }
    return op;
  }

  std::span<const float> row(size_t n) const {
    return std::span(x).subspan(n * static_cast<size_t>(C), static_cast<size_t>(C));
  }
};

struct With {
  bool residual = true, two = false, bias = true;
};

struct Backward : Forward {
  std::vector<float> dy, dy2, residual, dx, dgamma, dbeta, dgamma2, dbeta2, dbias;

  explicit Backward(Shape shape)
      : Forward(shape),
        dy(test::random_floats(N * C, 4)),
        dy2(test::random_floats(N * C, 10)),
        residual(test::random_floats(N * C, 5)),
        dx(test::poisoned(N * C)),
        dgamma(test::random_floats(C, 6)),
        dbeta(test::random_floats(C, 7)),
        dgamma2(test::random_floats(C, 11)),
        dbeta2(test::random_floats(C, 12)),
        dbias(test::random_floats(C, 13)) {
    test::OpDevice(1).run(op());
  }

  LayerNormBackward backward(With with = {}) {
    LayerNormBackward op{.dx = Tensor::of(dx.data(), {N, C}),
                         .dgamma = Tensor::of(dgamma.data(), {C}),
                         .dbeta = Tensor::of(dbeta.data(), {C}),
                         .dy = Tensor::of(dy.data(), {N, C}),
                         .x = Tensor::of(x.data(), {N, C}),
                         .mean = Tensor::of(mean.data(), {N}),
                         .rstd = Tensor::of(rstd.data(), {N}),
                         .gamma = Tensor::of(gamma.data(), {C})};
    if (with.residual) op.residual = Tensor::of(residual.data(), {N, C});
    if (with.bias) op.dbias = Tensor::of(dbias.data(), {C});
    if (with.two) {
      op.dy2 = Tensor::of(dy2.data(), {N, C});
      op.gamma2 = Tensor::of(gamma2.data(), {C});
      op.dgamma2 = Tensor::of(dgamma2.data(), {C});
      op.dbeta2 = Tensor::of(dbeta2.data(), {C});
    }
    return op;
  }

  std::vector<const std::vector<float>*> sums() const {
    return {&dgamma, &dbeta, &dgamma2, &dbeta2, &dbias};
  }
};

// Values and how far a result may be from them.
struct Expected {
  Doubles values, tolerances;
};

// The gradients by their formulas in double; sums over rows are in the order of Backward::sums().
struct Exact {
  Expected dx;
  std::vector<Expected> sums;

  Exact(const Backward& b, With with) {
    const auto C = static_cast<size_t>(b.C);
    for (const auto* sum : b.sums()) {
      sums.push_back({test::to_double(*sum), {}});
      for (double value : sums.back().values)
        sums.back().tolerances.push_back(5e-6 * std::abs(value) + 1e-9);
    }
    const auto add = [&](size_t i, size_t c, double value, double size) {
      sums[i].values[c] += value;
      sums[i].tolerances[c] += 5e-6 * size;
    };
    for (size_t n = 0; n < static_cast<size_t>(b.N); ++n) {
      const Doubles row = test::to_double(b.row(n));
      const auto [mean, rstd] = moments(row);
      Doubles g(C), g_size(C);
      double mean_g = 0, mean_gx = 0, mean_g_size = 0, mean_gx_size = 0;
      for (size_t c = 0; c < C; ++c) {
        const double xhat = (row[c] - mean) * rstd;
        const double xhat_size = (std::abs(row[c]) + std::abs(mean)) * rstd;
        const auto norm = [&](const std::vector<float>& dy, const std::vector<float>& gamma,
                              size_t first) {
          const double d = dy[n * C + c], part = d * gamma[c];
          g[c] += part;
          g_size[c] += std::abs(part);
          add(first, c, d * xhat, std::abs(d) * xhat_size);
          add(first + 1, c, d, std::abs(d));
        };
        norm(b.dy, b.gamma, 0);
        if (with.two) norm(b.dy2, b.gamma2, 2);
        mean_g += g[c] / static_cast<double>(C);
        mean_gx += g[c] * xhat / static_cast<double>(C);
        mean_g_size += g_size[c] / static_cast<double>(C);
        mean_gx_size += g_size[c] * std::abs(xhat) / static_cast<double>(C);
      }
      double scale = 0;
      for (size_t c = 0; c < C; ++c) {
        const double past = with.residual ? static_cast<double>(b.residual[n * C + c]) : 0;
        const double xhat = (row[c] - mean) * rstd;
        dx.values.push_back(past + rstd * (g[c] - mean_g - xhat * mean_gx));
        scale = std::max(scale, std::abs(past) + rstd * (g_size[c] + mean_g_size +
                                                         std::abs(xhat) * mean_gx_size));
      }
      dx.tolerances.insert(dx.tolerances.end(), C, 5e-6 * scale);
      if (with.bias)
        for (size_t c = 0; c < C; ++c) add(4, c, dx.values[n * C + c], scale);
    }
  }
};

void expect_agrees(const Backward& found, const Exact& exact) {
  EXPECT_TRUE(all_near(found.dx, exact.dx.values, exact.dx.tolerances));
  for (size_t i = 0; i < exact.sums.size(); ++i)
    EXPECT_TRUE(all_near(*found.sums()[i], exact.sums[i].values, exact.sums[i].tolerances)) << i;
}

void expect_same(const Backward& a, const Backward& b) {
  EXPECT_TRUE(test::same_bits(a.dx, b.dx));
  for (size_t i = 0; i < a.sums().size(); ++i)
    EXPECT_TRUE(test::same_bits(*a.sums()[i], *b.sums()[i])) << i;
}

const With kEveryWith[] = {{.residual = false, .two = false, .bias = false},
                           {.residual = true, .two = false, .bias = true},
                           {.residual = false, .two = true, .bias = true},
                           {.residual = true, .two = true, .bias = false}};

void forward_agrees(Shape shape, double offset) {
  SCOPED_TRACE(testing::Message() << shape.N << " x " << shape.C << ", offset " << offset);
  Forward f(shape, offset);
  test::OpDevice(2).run(f.op(/*two=*/true));
  const Doubles gamma = test::to_double(f.gamma), beta = test::to_double(f.beta);
  const Doubles gamma2 = test::to_double(f.gamma2), beta2 = test::to_double(f.beta2);
  Expected y, y2, mean, rstd;
  for (size_t n = 0; n < static_cast<size_t>(f.N); ++n) {
    const Doubles row = test::to_double(f.row(n));
    const auto exact = moments(row);
    const auto expect_row = [&](Expected& to, const Doubles& by, const Doubles& plus) {
      const Doubles y_row = normalise(row, by, plus);
      to.values.insert(to.values.end(), y_row.begin(), y_row.end());
      double scale = 0;
      for (size_t c = 0; c < row.size(); ++c)
        scale =
            std::max(scale, std::abs(row[c]) * exact.rstd * std::abs(by[c]) + std::abs(plus[c]));
      to.tolerances.insert(to.tolerances.end(), row.size(), 2e-6 * scale);
    };
    expect_row(y, gamma, beta);
    expect_row(y2, gamma2, beta2);
    double largest = 0;
    for (double value : row) largest = std::max(largest, std::abs(value));
    mean.values.push_back(exact.mean);
    mean.tolerances.push_back(1e-6 * largest);
    rstd.values.push_back(exact.rstd);
    rstd.tolerances.push_back(2e-6 * exact.rstd * (1 + largest * exact.rstd));
  }
  EXPECT_TRUE(all_near(f.y, y.values, y.tolerances));
  EXPECT_TRUE(all_near(f.y2, y2.values, y2.tolerances));
  EXPECT_TRUE(all_near(f.mean, mean.values, mean.tolerances));
  EXPECT_TRUE(all_near(f.rstd, rstd.values, rstd.tolerances));
}

TEST(LayerNormForward, AgreesWithDouble) {
  for (const Shape shape : small_shapes())
    for (double offset : {0.3, 100.0}) forward_agrees(shape, offset);
  for (const Shape shape : large_shapes()) forward_agrees(shape, 0.3);
}

TEST(LayerNormForward, TheSecondNormChangesNothingElse) {
  for (int64_t C : test::supported_widths({37, 40, 5128})) {
    Forward one({9, C}), two({9, C});
    test::OpDevice device(2);
    device.run(one.op());
    device.run(two.op(/*two=*/true));
    EXPECT_TRUE(test::same_bits(one.y, two.y));
    EXPECT_TRUE(test::same_bits(one.mean, two.mean));
    EXPECT_TRUE(test::same_bits(one.rstd, two.rstd));
    EXPECT_TRUE(std::isnan(one.y2[0])) << "not asked for";
  }
}

TEST(LayerNormForward, IsTheSameHoweverItRuns) {
  for (int64_t C : test::supported_widths({37, 40})) {
    Forward expected({130, C});
    test::OpDevice(1).run(expected.op());
    test::for_each_way([&](int threads) {
      Forward found({130, C});
      test::OpDevice(threads).run(found.op());
      EXPECT_TRUE(test::same_bits(expected.y, found.y));
      EXPECT_TRUE(test::same_bits(expected.rstd, found.rstd));
    });
  }
}

TEST(LayerNormForward, KeepsNanInItsRow) {
  Forward f({3, 24});
  f.x[29] = std::nanf("");
  test::OpDevice(2).run(f.op());
  for (size_t i = 0; i < f.y.size(); ++i) EXPECT_EQ(std::isnan(f.y[i]), i / 24 == 1) << i;
}

TEST(LayerNormForward, RefusesBadOperands) {
  test::OpDevice device(1);
  Forward f({3, 8});
  LayerNormForward op = f.op();
  op.gamma = Tensor::of(f.gamma.data(), {5});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: gamma is f32 (5), expected f32 (8)");
  op = f.op();
  op.beta = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: operand beta is missing, expected f32 (8)");
  op = f.op();
  op.y = op.x;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: y overlaps x, expected memory of its own");
  op = f.op();
  op.x = Tensor::of(f.x.data(), {0, 8});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: x is f32 (0, 8), expected at least one element");
  op.x = Tensor::of(f.x.data(), {24});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: x is f32 (24), expected f32 or bf16 of rank 2");
  op = f.op();
  op.x = Tensor(f.x.data(), DType::bf16, {3, 8});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: y is f32 (3, 8), expected bf16 (3, 8)");
  op = f.op(/*two=*/true);
  op.gamma2 = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormForward: operand gamma2 is missing, expected f32 (8)");
  if (test::on_cuda()) {
    Forward odd({3, 12});
    EXPECT_EQ(test::error_of([&] { device.run(odd.op()); }),
              "LayerNormForward on cuda: width 12, expected a multiple of 8");
  }
}

TEST(LayerNormForward, Bf16ErrorIsThatOfRounding) {
  using Op = LayerNormForward;
  for (const Shape shape : {Shape{1, 8}, {33, 24}, {9, 768}, {5, 2048}, {3, 5128}}) {
    SCOPED_TRACE(testing::Message() << shape.N << " x " << shape.C);
    Forward f(shape);
    EXPECT_TRUE(test::bf16_error_is_rounding(
        f.op(/*two=*/true),
        {&Op::y, &Op::y2, &Op::x, &Op::gamma, &Op::beta, &Op::gamma2, &Op::beta2},
        {&Op::y, &Op::y2, &Op::mean, &Op::rstd}));
  }
}

TEST(LayerNormBackward, AgreesWithFiniteDifferences) {
  for (const Shape shape : small_shapes()) {
    for (const With with : kEveryWith) {
      SCOPED_TRACE(testing::Message()
                   << shape.N << " x " << shape.C << " " << with.residual << with.two);
      Backward b(shape);
      Exact exact(b, with);  // for its tolerances: the values come from the forward pass below
      for (size_t i = 0; i < exact.sums.size(); ++i)
        exact.sums[i].values = test::to_double(*b.sums()[i]);
      exact.dx.values.clear();
      test::OpDevice(2).run(b.backward(with));

      const auto C = static_cast<size_t>(b.C);
      const Doubles gamma = test::to_double(b.gamma), beta = test::to_double(b.beta);
      const Doubles gamma2 = test::to_double(b.gamma2), beta2 = test::to_double(b.beta2);
      for (size_t n = 0; n < static_cast<size_t>(b.N); ++n) {
        const Doubles row = test::to_double(b.row(n));
        const auto weighted = [&](const std::vector<float>& dy, std::span<const double> x,
                                  const Doubles& by, const Doubles& plus) {
          const Doubles y = normalise(x, by, plus);
          double sum = 0;
          for (size_t c = 0; c < C; ++c) sum += static_cast<double>(dy[n * C + c]) * y[c];
          return sum;
        };
        const Doubles gradient = test::finite_differences(
            [&](std::span<const double> at) {
              const double first = weighted(b.dy, at, gamma, beta);
              return with.two ? first + weighted(b.dy2, at, gamma2, beta2) : first;
            },
            row);
        for (size_t c = 0; c < C; ++c) {
          const double past = with.residual ? static_cast<double>(b.residual[n * C + c]) : 0;
          exact.dx.values.push_back(past + gradient[c]);
          if (with.bias) exact.sums[4].values[c] += past + gradient[c];
        }
        const auto add_gradients = [&](const std::vector<float>& dy, const Doubles& by,
                                       const Doubles& plus, size_t first) {
          const Doubles to_gamma = test::finite_differences(
              [&](std::span<const double> at) {
                return weighted(dy, row, {at.begin(), at.end()}, plus);
              },
              by);
          const Doubles to_beta = test::finite_differences(
              [&](std::span<const double> at) {
                return weighted(dy, row, by, {at.begin(), at.end()});
              },
              plus);
          for (size_t c = 0; c < C; ++c) {
            exact.sums[first].values[c] += to_gamma[c];
            exact.sums[first + 1].values[c] += to_beta[c];
          }
        };
        add_gradients(b.dy, gamma, beta, 0);
        if (with.two) add_gradients(b.dy2, gamma2, beta2, 2);
      }
      expect_agrees(b, exact);
    }
  }
}

TEST(LayerNormBackward, AgreesWithDoubleInLargeShapes) {
  size_t i = 0;
  for (const Shape shape : large_shapes()) {
    const With with = kEveryWith[1 + i++ % 3];
    SCOPED_TRACE(testing::Message() << shape.N << " x " << shape.C << " " << with.two);
    Backward b(shape);
    const Exact exact(b, with);
    test::OpDevice(2).run(b.backward(with));
    expect_agrees(b, exact);
  }
}

TEST(LayerNormBackward, MayWriteOverOneOfItsInputs) {
  for (int64_t C : test::supported_widths({33, 40, 4104})) {
    const Shape shape{C > 1000 ? 3 : 67, C};
    Backward apart(shape);
    test::OpDevice device(2);
    device.run(apart.backward({.two = true}));
    for (Tensor LayerNormBackward::*input :
         {&LayerNormBackward::dy, &LayerNormBackward::dy2, &LayerNormBackward::residual}) {
      Backward over(shape);
      LayerNormBackward op = over.backward({.two = true});
      op.dx = op.*input;
      device.run(op);
      std::copy_n(op.dx.as<float>(), over.dx.size(), over.dx.begin());
      expect_same(apart, over);
    }
  }
}

TEST(LayerNormBackward, IsTheSameHoweverItRuns) {
  for (int64_t C : test::supported_widths({37, 40, 520})) {
    const Shape shape{C > 500 ? 9 : 300, C};
    Backward expected(shape);
    test::OpDevice(1).run(expected.backward({.two = true}));
    test::for_each_way([&](int threads) {
      Backward found(shape);
      test::OpDevice(threads).run(found.backward({.two = true}));
      expect_same(expected, found);
    });
  }
}

TEST(LayerNormBackward, KeepsNan) {
  Backward b({3, 24});
  b.dy[29] = std::nanf("");
  test::OpDevice(2).run(b.backward({.residual = false}));
  for (size_t i = 0; i < b.dx.size(); ++i) EXPECT_EQ(std::isnan(b.dx[i]), i / 24 == 1) << i;
  EXPECT_TRUE(std::isnan(b.dgamma[5]));
  EXPECT_FALSE(std::isnan(b.dgamma[6]));
  EXPECT_TRUE(std::isnan(b.dbias[6]));
}

TEST(LayerNormBackward, RefusesBadOperands) {
  test::OpDevice device(1);
  Backward b({3, 8});
  LayerNormBackward op = b.backward();
  op.residual = Tensor::of(b.residual.data(), {2, 8});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: residual is f32 (2, 8), expected f32 (3, 8)");
  op = b.backward();
  op.dx = op.x;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: dx overlaps x, expected memory of its own");
  std::vector<float> memory(40);
  op = b.backward();
  op.dx = Tensor::of(memory.data(), {3, 8});
  op.dy = Tensor::of(memory.data() + 8, {3, 8});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: dx overlaps dy in part, expected the same tensor or memory of its "
            "own");
  op = b.backward();
  op.dgamma = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: operand dgamma is missing, expected f32 (8)");
  op = b.backward({.two = true});
  op.dbeta2 = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: operand dbeta2 is missing, expected f32 (8)");
  op = b.backward();
  op.dbias = op.dbeta;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: dbias overlaps dbeta, expected memory of its own");
  if (test::on_cuda()) {
    std::vector<float> wide(36), sums(12), rows(3);
    const Tensor matrix = Tensor::of(wide.data(), {3, 12}), row = Tensor::of(rows.data(), {3});
    std::vector<float> dx(36), dbeta(12);
    op = {.dx = Tensor::of(dx.data(), {3, 12}),
          .dgamma = Tensor::of(sums.data(), {12}),
          .dbeta = Tensor::of(dbeta.data(), {12}),
          .dy = matrix,
          .x = matrix,
          .mean = row,
          .rstd = row,
          .gamma = Tensor::of(wide.data(), {12})};
    EXPECT_EQ(test::error_of([&] { device.run(op); }),
              "LayerNormBackward on cuda: width 12, expected a multiple of 8");
  }
}

TEST(LayerNormBackward, Bf16ErrorIsThatOfRounding) {
  using Op = LayerNormBackward;
  const std::vector<Tensor Op::*> narrow{&Op::dx,    &Op::dy,     &Op::dy2,     &Op::x,
                                         &Op::gamma, &Op::gamma2, &Op::residual};
  const std::vector<Tensor Op::*> outputs{&Op::dx,    &Op::dgamma,  &Op::dbeta,
                                          &Op::dbias, &Op::dgamma2, &Op::dbeta2};
  for (const Shape shape : {Shape{1, 8}, {67, 24}, {9, 776}, {2, 4104}}) {
    for (const With with : kEveryWith) {
      SCOPED_TRACE(testing::Message()
                   << shape.N << " x " << shape.C << " " << with.residual << with.two);
      Backward b(shape);
      LayerNormBackward op = b.backward(with);
      EXPECT_TRUE(test::bf16_error_is_rounding(op, narrow, outputs));
      if (!with.residual) continue;
      op.dx = op.residual;
      EXPECT_TRUE(test::bf16_error_is_rounding(op, narrow, outputs));
    }
  }
}

}  // namespace
}  // namespace midfill
