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
const Shape kShapes[] = {{1, 1}, {1, 8}, {3, 5}, {5, 1}, {7, 33}, {67, 16}, {130, 37}, {2, 384}};

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
  std::vector<float> x, gamma, beta, y, mean, rstd;

  explicit Forward(Shape shape, double offset = 0.3)
      : N(shape.N),
        C(shape.C),
        x(test::random_floats(N * C, 1, 1.5, offset)),
        gamma(test::random_floats(C, 2, 0.3, 1)),
        beta(test::random_floats(C, 3, 0.5)),
        y(test::poisoned(N * C)),
        mean(test::poisoned(N)),
        rstd(test::poisoned(N)) {}

  LayerNormForward op() {
    return {.y = Tensor::of(y.data(), {N, C}),
            .mean = Tensor::of(mean.data(), {N}),
            .rstd = Tensor::of(rstd.data(), {N}),
            .x = Tensor::of(x.data(), {N, C}),
            .gamma = Tensor::of(gamma.data(), {C}),
            .beta = Tensor::of(beta.data(), {C})};
  }
};

struct Backward : Forward {
  std::vector<float> dy, residual, dx, dgamma, dbeta;

  explicit Backward(Shape shape)
      : Forward(shape),
        dy(test::random_floats(N * C, 4)),
        residual(test::random_floats(N * C, 5)),
        dx(test::poisoned(N * C)),
        dgamma(test::random_floats(C, 6)),
        dbeta(test::random_floats(C, 7)) {
    test::OpDevice(1).run(op());
  }

  LayerNormBackward backward(bool with_residual) {
    return {.dx = Tensor::of(dx.data(), {N, C}),
            .dgamma = Tensor::of(dgamma.data(), {C}),
            .dbeta = Tensor::of(dbeta.data(), {C}),
            .dy = Tensor::of(dy.data(), {N, C}),
            .x = Tensor::of(x.data(), {N, C}),
            .mean = Tensor::of(mean.data(), {N}),
            .rstd = Tensor::of(rstd.data(), {N}),
            .gamma = Tensor::of(gamma.data(), {C}),
            .residual = with_residual ? Tensor::of(residual.data(), {N, C}) : Tensor()};
  }
};

TEST(LayerNormForward, AgreesWithDouble) {
  for (const Shape shape : kShapes) {
    for (double offset : {0.3, 100.0}) {
      SCOPED_TRACE(testing::Message() << shape.N << " x " << shape.C << ", offset " << offset);
      Forward f(shape, offset);
      test::OpDevice(2).run(f.op());
      const Doubles x = test::to_double(f.x), gamma = test::to_double(f.gamma),
                    beta = test::to_double(f.beta);
      Doubles y, tolerances, mean, rstd, mean_tolerances, rstd_tolerances;
      for (int64_t n = 0; n < f.N; ++n) {
        const std::span row(x.data() + n * f.C, static_cast<size_t>(f.C));
        const auto exact = moments(row);
        const Doubles y_row = normalise(row, gamma, beta);
        y.insert(y.end(), y_row.begin(), y_row.end());
        double scale = 0, largest = 0;
        for (size_t c = 0; c < row.size(); ++c) {
          scale = std::max(scale,
                           std::abs(row[c]) * exact.rstd * std::abs(gamma[c]) + std::abs(beta[c]));
          largest = std::max(largest, std::abs(row[c]));
        }
        tolerances.insert(tolerances.end(), row.size(), 2e-6 * scale);
        mean.push_back(exact.mean);
        mean_tolerances.push_back(1e-6 * largest);
        rstd.push_back(exact.rstd);
        rstd_tolerances.push_back(2e-6 * exact.rstd * (1 + largest * exact.rstd));
      }
      EXPECT_TRUE(all_near(f.y, y, tolerances));
      EXPECT_TRUE(all_near(f.mean, mean, mean_tolerances));
      EXPECT_TRUE(all_near(f.rstd, rstd, rstd_tolerances));
    }
  }
}

TEST(LayerNormForward, IsTheSameForAnyThreadCount) {
  Forward one({130, 37}), three({130, 37});
  test::OpDevice(1).run(one.op());
  test::OpDevice(3).run(three.op());
  EXPECT_TRUE(test::same_bits(one.y, three.y));
  EXPECT_TRUE(test::same_bits(one.rstd, three.rstd));
}

TEST(LayerNormForward, KeepsNanInItsRow) {
  Forward f({3, 20});
  f.x[25] = std::nanf("");
  test::OpDevice(2).run(f.op());
  for (size_t i = 0; i < f.y.size(); ++i) EXPECT_EQ(std::isnan(f.y[i]), i / 20 == 1) << i;
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
            "LayerNormForward: x is f32 (24), expected f32 of rank 2");
}

TEST(LayerNormBackward, AgreesWithFiniteDifferences) {
  for (const Shape shape : kShapes) {
    for (bool with_residual : {false, true}) {
      SCOPED_TRACE(testing::Message() << shape.N << " x " << shape.C << " " << with_residual);
      Backward b(shape);
      const auto dgamma_before = b.dgamma, dbeta_before = b.dbeta;
      test::OpDevice(2).run(b.backward(with_residual));

      const auto C = static_cast<size_t>(b.C);
      const Doubles x = test::to_double(b.x), gamma = test::to_double(b.gamma),
                    beta = test::to_double(b.beta), dy = test::to_double(b.dy);
      Doubles dx, dx_tolerances, dgamma = test::to_double(dgamma_before),
                                 dbeta = test::to_double(dbeta_before);
      Doubles dgamma_sizes(C), dbeta_sizes(C);
      for (size_t c = 0; c < C; ++c) {
        dgamma_sizes[c] = std::abs(dgamma[c]);
        dbeta_sizes[c] = std::abs(dbeta[c]);
      }
      for (size_t n = 0; n < static_cast<size_t>(b.N); ++n) {
        const Doubles row(x.begin() + static_cast<ptrdiff_t>(n * C),
                          x.begin() + static_cast<ptrdiff_t>((n + 1) * C));
        const auto weighted = [&](const Doubles& y) {
          double sum = 0;
          for (size_t c = 0; c < C; ++c) sum += dy[n * C + c] * y[c];
          return sum;
        };
        const Doubles gradient = test::finite_differences(
            [&](std::span<const double> at) { return weighted(normalise(at, gamma, beta)); }, row);
        const auto [mean, rstd] = moments(row);
        double mean_g = 0, mean_gx = 0, scale = 0;
        for (size_t c = 0; c < C; ++c) {
          const double g = std::abs(dy[n * C + c] * gamma[c]);
          mean_g += g / static_cast<double>(C);
          mean_gx += g * std::abs(row[c] - mean) * rstd / static_cast<double>(C);
        }
        for (size_t c = 0; c < C; ++c) {
          const double past = with_residual ? static_cast<double>(b.residual[n * C + c]) : 0;
          const double xhat = (row[c] - mean) * rstd;
          scale = std::max(scale, std::abs(past) + rstd * (std::abs(dy[n * C + c] * gamma[c]) +
                                                           mean_g + std::abs(xhat) * mean_gx));
          dx.push_back(past + gradient[c]);
          dgamma_sizes[c] += std::abs(dy[n * C + c]) * (std::abs(row[c]) + std::abs(mean)) * rstd;
          dbeta_sizes[c] += std::abs(dy[n * C + c]);
        }
        dx_tolerances.insert(dx_tolerances.end(), C, 5e-6 * scale);
        // y is linear in gamma and beta, each of which meets its own column only.
        const Doubles gamma_gradient = test::finite_differences(
            [&](std::span<const double> at) {
              return weighted(normalise(row, {at.begin(), at.end()}, beta));
            },
            gamma);
        const Doubles beta_gradient = test::finite_differences(
            [&](std::span<const double> at) {
              return weighted(normalise(row, gamma, {at.begin(), at.end()}));
            },
            beta);
        for (size_t c = 0; c < C; ++c) {
          dgamma[c] += gamma_gradient[c];
          dbeta[c] += beta_gradient[c];
        }
      }
      for (size_t c = 0; c < C; ++c) {
        dgamma_sizes[c] = 5e-6 * dgamma_sizes[c] + 1e-9;
        dbeta_sizes[c] = 5e-6 * dbeta_sizes[c] + 1e-9;
      }
      EXPECT_TRUE(all_near(b.dx, dx, dx_tolerances));
      EXPECT_TRUE(all_near(b.dgamma, dgamma, dgamma_sizes));
      EXPECT_TRUE(all_near(b.dbeta, dbeta, dbeta_sizes));
    }
  }
}

TEST(LayerNormBackward, MayWriteOverDyOrTheResidual) {
  Backward apart({67, 33}), over_dy({67, 33}), over_residual({67, 33});
  test::OpDevice device(2);
  device.run(apart.backward(true));
  LayerNormBackward op = over_dy.backward(true);
  op.dx = op.dy;
  device.run(op);
  EXPECT_TRUE(test::same_bits(apart.dx, over_dy.dy));
  EXPECT_TRUE(test::same_bits(apart.dgamma, over_dy.dgamma));
  op = over_residual.backward(true);
  op.dx = op.residual;
  device.run(op);
  EXPECT_TRUE(test::same_bits(apart.dx, over_residual.residual));
  EXPECT_TRUE(test::same_bits(apart.dbeta, over_residual.dbeta));
}

TEST(LayerNormBackward, IsTheSameForAnyThreadCountAndEveryTime) {
  Backward expected({300, 37});
  test::OpDevice(1).run(expected.backward(true));
  for (int threads : {1, 2, 3}) {
    Backward found({300, 37});
    test::OpDevice(threads).run(found.backward(true));
    EXPECT_TRUE(test::same_bits(expected.dx, found.dx));
    EXPECT_TRUE(test::same_bits(expected.dgamma, found.dgamma));
    EXPECT_TRUE(test::same_bits(expected.dbeta, found.dbeta));
  }
}

TEST(LayerNormBackward, KeepsNan) {
  Backward b({3, 20});
  b.dy[25] = std::nanf("");
  test::OpDevice(2).run(b.backward(false));
  for (size_t i = 0; i < b.dx.size(); ++i) EXPECT_EQ(std::isnan(b.dx[i]), i / 20 == 1) << i;
  EXPECT_TRUE(std::isnan(b.dgamma[5]));
  EXPECT_FALSE(std::isnan(b.dgamma[6]));
}

TEST(LayerNormBackward, RefusesBadOperands) {
  test::OpDevice device(1);
  Backward b({3, 8});
  LayerNormBackward op = b.backward(true);
  op.residual = Tensor::of(b.residual.data(), {2, 8});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: residual is f32 (2, 8), expected f32 (3, 8)");
  op = b.backward(false);
  op.dx = op.x;
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: dx overlaps x, expected memory of its own");
  std::vector<float> memory(40);
  op = b.backward(false);
  op.dx = Tensor::of(memory.data(), {3, 8});
  op.dy = Tensor::of(memory.data() + 8, {3, 8});
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: dx overlaps dy in part, expected the same tensor or memory of its "
            "own");
  op = b.backward(false);
  op.dgamma = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(op); }),
            "LayerNormBackward: operand dgamma is missing, expected f32 (8)");
}

}  // namespace
}  // namespace midfill
