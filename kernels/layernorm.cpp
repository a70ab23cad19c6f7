#include "kernels/layernorm.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/column_sums.h"
#include "kernels/common/parallel.h"

namespace midfill {

void LayerNormForward::check() const {
  const char* op = "LayerNormForward";
  expect_float(x, op, "x", 2);
  const int64_t N = x.dim(0), C = x.dim(1);
  const DType type = x.dtype();
  expect(y, op, "y", type, {N, C});
  expect(mean, op, "mean", DType::f32, {N});
  expect(rstd, op, "rstd", DType::f32, {N});
  expect(gamma, op, "gamma", type, {C});
  expect(beta, op, "beta", type, {C});
  expect_apart(op, y, "y", x, "x");
  expect_apart(op, y, "y", gamma, "gamma");
  expect_apart(op, y, "y", beta, "beta");
  expect_apart(op, mean, "mean", x, "x");
  expect_apart(op, rstd, "rstd", x, "x");
  expect_apart(op, mean, "mean", rstd, "rstd");
  if (y2 || gamma2 || beta2) {
    expect(y2, op, "y2", type, {N, C});
    expect(gamma2, op, "gamma2", type, {C});
    expect(beta2, op, "beta2", type, {C});
    expect_apart(op, y2, "y2", x, "x");
    expect_apart(op, y2, "y2", y, "y");
    expect_apart(op, y2, "y2", gamma2, "gamma2");
    expect_apart(op, y2, "y2", beta2, "beta2");
  }
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
      const auto normalise = [=](float* to, const float* by, const float* plus) {
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) to[c] = (row[c] - m) * r * by[c] + plus[c];
      };
      normalise(out + n * C, scale, shift);
      if (y2) normalise(y2.as<float>() + n * C, gamma2.as<float>(), beta2.as<float>());
      means[n] = m;
      rstds[n] = r;
    }
  });
}

void LayerNormBackward::check() const {
  const char* op = "LayerNormBackward";
  expect_float(x, op, "x", 2);
  const int64_t N = x.dim(0), C = x.dim(1);
  const DType type = x.dtype();
  expect(dx, op, "dx", type, {N, C});
  expect(dgamma, op, "dgamma", DType::f32, {C});
  expect(dbeta, op, "dbeta", DType::f32, {C});
  expect(dy, op, "dy", type, {N, C});
  expect(mean, op, "mean", DType::f32, {N});
  expect(rstd, op, "rstd", DType::f32, {N});
  expect(gamma, op, "gamma", type, {C});
  expect_same_or_apart(op, dx, "dx", dy, "dy");
  expect_apart(op, dx, "dx", x, "x");
  expect_apart(op, dgamma, "dgamma", dbeta, "dbeta");
  if (dbias) {
    expect(dbias, op, "dbias", DType::f32, {C});
    expect_apart(op, dbias, "dbias", dgamma, "dgamma");
    expect_apart(op, dbias, "dbias", dbeta, "dbeta");
  }
  if (residual) {
    expect(residual, op, "residual", type, {N, C});
    expect_same_or_apart(op, dx, "dx", residual, "residual");
  }
  if (dy2 || gamma2 || dgamma2 || dbeta2) {
    expect(dgamma2, op, "dgamma2", DType::f32, {C});
    expect(dbeta2, op, "dbeta2", DType::f32, {C});
    expect(dy2, op, "dy2", type, {N, C});
    expect(gamma2, op, "gamma2", type, {C});
    expect_same_or_apart(op, dx, "dx", dy2, "dy2");
    expect_apart(op, dgamma2, "dgamma2", dbeta2, "dbeta2");
    for (const Tensor& sum : {dgamma, dbeta, dbias}) {
      expect_apart(op, dgamma2, "dgamma2", sum, "another sum");
      expect_apart(op, dbeta2, "dbeta2", sum, "another sum");
    }
  }
}

namespace {

// One norm's part in the gradient of a row.
struct NormRow {
  const float *dy, *gamma;
  float *dgamma, *dbeta;  // partial sums
};

struct RowSums {
  float g = 0, gx = 0;  // of g and g * xhat
};

void add_row(const NormRow& norm, const float* x, float mean, float rstd, int64_t C,
             RowSums& sums) {
  float sum_g = 0, sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
  for (int64_t c = 0; c < C; ++c) {
    const float xhat = (x[c] - mean) * rstd;
    const float g = norm.dy[c] * norm.gamma[c];
    sum_g += g;
    sum_gx += g * xhat;
    norm.dgamma[c] += norm.dy[c] * xhat;
    norm.dbeta[c] += norm.dy[c];
  }
  sums.g += sum_g;
  sums.gx += sum_gx;
}

}  // namespace

void LayerNormBackward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), C = x.dim(1), blocks = sum_blocks(N);
  const float *means = mean.as<float>(), *rstds = rstd.as<float>();
  const bool two = static_cast<bool>(dy2), with_bias = static_cast<bool>(dbias);
  // A (blocks, C) matrix of partial sums for each of these that is there.
  const Tensor* sums[5] = {&dgamma, &dbeta, &dgamma2, &dbeta2, &dbias};
  const int64_t matrix = blocks * C;
  int64_t start[5], floats = 0;
  for (int i = 0; i < 5; ++i) {
    start[i] = floats;
    if (*sums[i]) floats += matrix;
  }
  auto* partials = static_cast<float*>(cpu.workspace(static_cast<size_t>(floats) * sizeof(float)));

  for_each_sum_block(cpu, N, [&](int64_t block, int64_t begin, int64_t end) {
    float* partial[5];
    for (int i = 0; i < 5; ++i) {
      partial[i] = partials + start[i] + block * C;
      if (*sums[i]) std::fill(partial[i], partial[i] + C, 0.0f);
    }
    for (int64_t n = begin; n < end; ++n) {
      const auto row = [n, C](const Tensor& t) { return t.as<float>() + n * C; };
      const float m = means[n], r = rstds[n], *in = row(x);
      RowSums total;
      const NormRow first{row(dy), gamma.as<float>(), partial[0], partial[1]};
      add_row(first, in, m, r, C, total);
      NormRow second{};
      if (two) {
        second = {row(dy2), gamma2.as<float>(), partial[2], partial[3]};
        add_row(second, in, m, r, C, total);
      }
      const float mean_g = total.g / static_cast<float>(C);
      const float mean_gx = total.gx / static_cast<float>(C);
      float* to = row(dx);
      const auto finish = [=](auto past, auto g) {
#pragma omp simd
        for (int64_t c = 0; c < C; ++c)
          to[c] = past(c) + r * (g(c) - mean_g - (in[c] - m) * r * mean_gx);
      };
      const auto with_past = [&](auto g) {
        if (residual)
          finish([from = row(residual)](int64_t c) { return from[c]; }, g);
        else
          finish([](int64_t) { return 0.0f; }, g);
      };
      if (two)
        with_past([=](int64_t c) {
          return first.dy[c] * first.gamma[c] + second.dy[c] * second.gamma[c];
        });
      else
        with_past([=](int64_t c) { return first.dy[c] * first.gamma[c]; });
      if (with_bias) {
        float* bias_sums = partial[4];
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) bias_sums[c] += to[c];
      }
    }
  });
  for (int i = 0; i < 5; ++i)
    if (*sums[i]) add_column_sums(cpu, partials + start[i], blocks, C, sums[i]->as<float>());
}

}  // namespace midfill
