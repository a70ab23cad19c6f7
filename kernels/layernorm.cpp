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

namespace {

void normalise(float* y, const float* x, float mean, float rstd, const float* gamma,
               const float* beta, int64_t C) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) y[c] = (x[c] - mean) * rstd * gamma[c] + beta[c];
}

}  // namespace

void LayerNormForward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), C = x.dim(1);
  const float *in = x.as<float>(), *scale = gamma.as<float>(), *shift = beta.as<float>();
  float *out = y.as<float>(), *means = mean.as<float>(), *rstds = rstd.as<float>();
  float* out2 = y2 ? y2.as<float>() : nullptr;
  const float* scale2 = y2 ? gamma2.as<float>() : nullptr;
  const float* shift2 = y2 ? beta2.as<float>() : nullptr;
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
      normalise(out + n * C, row, m, r, scale, shift, C);
      if (out2) normalise(out2 + n * C, row, m, r, scale2, shift2, C);
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

struct RowSums {
  float g = 0, gx = 0;  // of g and g * xhat
};

// One norm's part of the sums over a row, and its row's part of the sums over rows.
RowSums add_row(const float* dy, const float* x, float mean, float rstd, const float* gamma,
                float* dgamma, float* dbeta, int64_t C) {
  float sum_g = 0, sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
  for (int64_t c = 0; c < C; ++c) {
    const float xhat = (x[c] - mean) * rstd;
    const float g = dy[c] * gamma[c];
    sum_g += g;
    sum_gx += g * xhat;
    dgamma[c] += dy[c] * xhat;
    dbeta[c] += dy[c];
  }
  return {sum_g, sum_gx};
}

// The row's dx from its means; dy2, gamma2 and past (the residual) only where the flags say so.
template <bool kTwo, bool kPast>
void finish_row(float* dx, const float* dy, const float* gamma, const float* dy2,
                const float* gamma2, const float* past, const float* x, float mean, float rstd,
                RowSums means, int64_t C) {
  const float mean_g = means.g, mean_gx = means.gx;
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    float g = dy[c] * gamma[c];
    if constexpr (kTwo) g += dy2[c] * gamma2[c];
    const float through = rstd * (g - mean_g - (x[c] - mean) * rstd * mean_gx);
    if constexpr (kPast)
      dx[c] = past[c] + through;
    else
      dx[c] = through;
  }
}

}  // namespace

void LayerNormBackward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), C = x.dim(1), blocks = sum_blocks(N);
  const float *means = mean.as<float>(), *rstds = rstd.as<float>();
  const float *grad = dy.as<float>(), *in = x.as<float>(), *scale = gamma.as<float>();
  const float* grad2 = dy2 ? dy2.as<float>() : nullptr;
  const float* scale2 = dy2 ? gamma2.as<float>() : nullptr;
  const float* past = residual ? residual.as<float>() : nullptr;
  float* out = dx.as<float>();
  constexpr decltype(&finish_row<false, false>) kFinish[2][2] = {
      {finish_row<false, false>, finish_row<false, true>},
      {finish_row<true, false>, finish_row<true, true>}};
  const auto finish = kFinish[grad2 != nullptr][past != nullptr];
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
      const int64_t at = n * C;
      const float m = means[n], r = rstds[n];
      RowSums of = add_row(grad + at, in + at, m, r, scale, partial[0], partial[1], C);
      if (grad2) {
        const RowSums more = add_row(grad2 + at, in + at, m, r, scale2, partial[2], partial[3], C);
        of.g += more.g;
        of.gx += more.gx;
      }
      of.g /= static_cast<float>(C);
      of.gx /= static_cast<float>(C);
      float* to = out + at;
      finish(to, grad + at, scale, grad2 ? grad2 + at : nullptr, scale2, past ? past + at : nullptr,
             in + at, m, r, of, C);
      if (dbias) {
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
