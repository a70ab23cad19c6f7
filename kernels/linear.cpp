#include "kernels/linear.h"

#include <cblas.h>

#include <algorithm>
#include <cstring>

#include "kernels/common/column_sums.h"
#include "kernels/common/parallel.h"

namespace midfill {

namespace {

// The library's integers are 32 bits wide.
void expect_gemm_dims(const char* op, int64_t N, int64_t I, int64_t O) {
  constexpr int64_t kLimit = INT32_MAX;
  require(N <= kLimit && I <= kLimit && O <= kLimit, "{}: N {}, I {}, O {}: each at most {}", op, N,
          I, O, kLimit);
}

// A matrix as the library sees it: its rows, or its columns where it is transposed.
struct Operand {
  const float* data;
  int64_t stride;  // of the matrix in memory
  bool transposed = false;

  const float* rows_from(int64_t row) const { return data + (transposed ? row : row * stride); }
  const float* columns_from(int64_t column) const {
    return data + (transposed ? column * stride : column);
  }
};

// c (m,n) = a (m,k) b (k,n) + beta c, split over the threads along the longer side of c, each part
// a product of the single-threaded OpenBLAS, which packs the whole of the smaller operand for
// itself. The library's own threads would share the packing and spin for each other: no faster on
// idle cores, slower by a third on cores that something else wants as well, and without end where
// fewer threads are granted than it counts on.
void gemm(const Cpu& cpu, int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b,
          float beta, float* c) {
  constexpr int64_t kStep = 32;
  const auto multiply = [&](int64_t row, int64_t rows, int64_t column, int64_t columns) {
    float* out = c + row * n + column;
    const float *left = a.rows_from(row), *right = b.columns_from(column);
    // One row, a decoding step: the matrix-vector product reads b once, without packing it.
    if (rows == 1 && !a.transposed)
      cblas_sgemv(CblasRowMajor, b.transposed ? CblasNoTrans : CblasTrans,
                  static_cast<int>(b.transposed ? columns : k),
                  static_cast<int>(b.transposed ? k : columns), 1.0f, right,
                  static_cast<int>(b.stride), left, 1, beta, out, 1);
    else
      cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
                  b.transposed ? CblasTrans : CblasNoTrans, static_cast<int>(rows),
                  static_cast<int>(columns), static_cast<int>(k), 1.0f, left,
                  static_cast<int>(a.stride), right, static_cast<int>(b.stride), beta, out,
                  static_cast<int>(n));
  };
  // Not more parts than OpenBLAS has memory for.
  const int64_t least = (std::max(m, n) / BlasMemory::kMostProducts + kStep) / kStep * kStep;
  if (m >= n)
    parallel_ranges(cpu, m, least,
                    [&](int64_t begin, int64_t end) { multiply(begin, end - begin, 0, n); });
  else
    parallel_ranges(cpu, n, least,
                    [&](int64_t begin, int64_t end) { multiply(0, m, begin, end - begin); });
}

}  // namespace

void LinearForward::check() const {
  const char* op = "LinearForward";
  expect_float(x, op, "x", 2);
  expect_rank(w, op, "w", x.dtype(), 2);
  const int64_t N = x.dim(0), I = x.dim(1), O = w.dim(0);
  const DType out = y.dtype() == DType::f32 ? DType::f32 : x.dtype();
  expect(w, op, "w", x.dtype(), {O, I});
  expect(y, op, "y", out, {N, O});
  expect_apart(op, y, "y", x, "x");
  expect_apart(op, y, "y", w, "w");
  if (bias) {
    expect(bias, op, "bias", out, {O});
    expect_apart(op, y, "y", bias, "bias");
  }
  if (residual) {
    expect(residual, op, "residual", out, {N, O});
    expect_same_or_apart(op, y, "y", residual, "residual");
  }
  expect_gemm_dims(op, N, I, O);
}

void LinearForward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), I = x.dim(1), O = w.dim(0);
  float* out = y.as<float>();
  const float* add = bias ? bias.as<float>() : nullptr;
  const float* past = residual ? residual.as<float>() : nullptr;
  if (add || (past && past != out)) {
    parallel_ranges(cpu, N, 8, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        float* row = out + n * O;
        if (!past) {
          std::memcpy(row, add, static_cast<size_t>(O) * sizeof(float));
        } else if (!add) {
          std::memcpy(row, past + n * O, static_cast<size_t>(O) * sizeof(float));
        } else {
          const float* past_row = past + n * O;
#pragma omp simd
          for (int64_t o = 0; o < O; ++o) row[o] = past_row[o] + add[o];
        }
      }
    });
  }
  gemm(cpu, N, O, I, {x.as<float>(), I}, {w.as<float>(), I, true}, add || past ? 1.0f : 0.0f, out);
}

void LinearBackward::check() const {
  const char* op = "LinearBackward";
  expect_float(x, op, "x", 2);
  expect_rank(dw, op, "dw", DType::f32, 2);
  const int64_t N = x.dim(0), I = x.dim(1), O = dw.dim(0);
  expect(dw, op, "dw", DType::f32, {O, I});
  expect(dy, op, "dy", x.dtype(), {N, O});
  expect_apart(op, dw, "dw", dy, "dy");
  expect_apart(op, dw, "dw", x, "x");
  if (dx) {
    expect(w, op, "w", x.dtype(), {O, I});
    expect(dx, op, "dx", x.dtype(), {N, I});
    expect_apart(op, dx, "dx", dy, "dy");
    expect_apart(op, dx, "dx", w, "w");
    expect_apart(op, dx, "dx", dw, "dw");
    expect_apart(op, dx, "dx", x, "x");
  }
  if (dbias) {
    expect(dbias, op, "dbias", DType::f32, {O});
    expect_apart(op, dbias, "dbias", dy, "dy");
  }
  expect_gemm_dims(op, N, I, O);
}

void LinearBackward::run(Cpu& cpu) const {
  const int64_t N = x.dim(0), I = x.dim(1), O = dw.dim(0);
  const float* grad = dy.as<float>();
  if (dbias) {
    const int64_t blocks = sum_blocks(N);
    auto* sums =
        static_cast<float*>(cpu.workspace(static_cast<size_t>(blocks * O) * sizeof(float)));
    for_each_sum_block(cpu, N, [&](int64_t block, int64_t begin, int64_t end) {
      float* sum = sums + block * O;
      std::fill(sum, sum + O, 0.0f);
      for (int64_t n = begin; n < end; ++n) {
        const float* row = grad + n * O;
#pragma omp simd
        for (int64_t o = 0; o < O; ++o) sum[o] += row[o];
      }
    });
    add_column_sums(cpu, sums, blocks, O, dbias.as<float>());
  }
  gemm(cpu, O, I, N, {grad, O, true}, {x.as<float>(), I}, 1.0f, dw.as<float>());
  if (dx) gemm(cpu, N, I, O, {grad, O}, {w.as<float>(), I}, 0.0f, dx.as<float>());
}

}  // namespace midfill
