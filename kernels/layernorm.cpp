#include "kernels/layernorm.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/column_sums.h"
#include "kernels/common/parallel.h"

namespace midfill {

void LayerNormForward::check() const {
  const char* op = "LayerNormForward";
  expect_rank(x, op, "x", DType::f32, 2);
  const int64_t N = x.dim(0), C = x.dim(1);
  expect(y, op, "y", DType::f32, {N, C});
  expect(mean, op, "mean", DType::f32, {N});
  expect(rstd, op, "rstd", DType::f32, {N});
  expect(gamma, op, "gamma", DType::f32, {C});
  expect(beta, op, "beta", DType::f32, {C});
  expect_apart(op, y, "y", x, "x");
  expect_apart(op, y, "y", gamma, "gamma");
  expect_apart(op, y, "y", beta, "beta");
  expect_apart(op, mean, "mean", x, "x");
  expect_apart(op, rstd, "rstd", x, "x");
  expect_apart(op, mean, "mean", rstd, "rstd");
}

void LayerNormForward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), C = x.dim(1);
  const float *in = x.as<float>(), *scale = gamma.as<float>(), *shift = beta.as<float>();
  float *out = y.as<float>(), *means = mean.as<float>(), *rstds = rstd.as<float>();
  parallel_ranges(cpu, N, 8, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* row = in + n * C;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < C; ++c) sum += row[c];
      const float m = sum / static_cast<float>(C);
      float squares = 0;
#pragma omp simd reduction(+ : squares)
      for (int64_t c = 0; c < C; ++c) squares += (row[c] - m) * (row[c] - m);
      const float r = 1.0f / std::sqrt(squares / static_cast<float>(C) + eps);
      float* to = out + n * C;
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) to[c] = (row[c] - m) * r * scale[c] + shift[c];
      means[n] = m;
      rstds[n] = r;
    }
  });
}

void LayerNormBackward::check() const {
  const char* op = "LayerNormBackward";
  expect_rank(x, op, "x", DType::f32, 2);
  const int64_t N = x.dim(0), C = x.dim(1);
  expect(dx, op, "dx", DType::f32, {N, C});
  expect(dgamma, op, "dgamma", DType::f32, {C});
  expect(dbeta, op, "dbeta", DType::f32, {C});
  expect(dy, op, "dy", DType::f32, {N, C});
  expect(mean, op, "mean", DType::f32, {N});
  expect(rstd, op, "rstd", DType::f32, {N});
  expect(gamma, op, "gamma", DType::f32, {C});
  expect_same_or_apart(op, dx, "dx", dy, "dy");
  expect_apart(op, dx, "dx", x, "x");
  expect_apart(op, dgamma, "dgamma", dbeta, "dbeta");
  if (residual) {
    expect(residual, op, "residual", DType::f32, {N, C});
    expect_same_or_apart(op, dx, "dx", residual, "residual");
  }
}

void LayerNormBackward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), C = x.dim(1), blocks = sum_blocks(N);
  const float *grad = dy.as<float>(), *in = x.as<float>(), *scale = gamma.as<float>();
  const float *means = mean.as<float>(), *rstds = rstd.as<float>();
  const float* past = residual ? residual.as<float>() : nullptr;
  float* out = dx.as<float>();
  // (blocks, C) partial sums of dgamma, then of dbeta
  auto* gamma_sums =
      static_cast<float*>(cpu.workspace(static_cast<size_t>(2 * blocks * C) * sizeof(float)));
  float* beta_sums = gamma_sums + blocks * C;

  for_each_sum_block(cpu, N, [&](int64_t block, int64_t begin, int64_t end) {
    float *dg = gamma_sums + block * C, *db = beta_sums + block * C;
    std::fill(dg, dg + C, 0.0f);
    std::fill(db, db + C, 0.0f);
    for (int64_t n = begin; n < end; ++n) {
      const float *dy_row = grad + n * C, *x_row = in + n * C;
      const float m = means[n], r = rstds[n];
      float sum_g = 0, sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
      for (int64_t c = 0; c < C; ++c) {
        const float xhat = (x_row[c] - m) * r;
        const float g = dy_row[c] * scale[c];
        sum_g += g;
        sum_gx += g * xhat;
        dg[c] += dy_row[c] * xhat;
        db[c] += dy_row[c];
      }
      const float mean_g = sum_g / static_cast<float>(C), mean_gx = sum_gx / static_cast<float>(C);
      float* to = out + n * C;
      const float* past_row = past ? past + n * C : nullptr;
      if (past_row) {
#pragma omp simd
        for (int64_t c = 0; c < C; ++c)
          to[c] = past_row[c] + r * (dy_row[c] * scale[c] - mean_g - (x_row[c] - m) * r * mean_gx);
      } else {
#pragma omp simd
        for (int64_t c = 0; c < C; ++c)
          to[c] = r * (dy_row[c] * scale[c] - mean_g - (x_row[c] - m) * r * mean_gx);
      }
    }
  });
  add_column_sums(cpu, gamma_sums, blocks, C, dgamma.as<float>());
  add_column_sums(cpu, beta_sums, blocks, C, dbeta.as<float>());
}

}  // namespace midfill
