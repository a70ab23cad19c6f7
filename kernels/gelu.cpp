#include "kernels/gelu.h"

#include <algorithm>

#include "kernels/common/column_sums.h"
#include "kernels/common/parallel.h"
#include "kernels/common/vecmath.h"

namespace midfill {

namespace {

constexpr float kSqrt2OverPi = 0.797884561f, kCubic = 0.044715f;
// Beyond these bounds the GELU is 0 or h, its derivative 0 or 1, to f32's last digit; inside them
// nothing overflows.
constexpr float kTanhBound = 9.0f, kErfBound = 12.5f;

[[gnu::always_inline]] inline float at_least(float h, float bound) {
  return h < bound ? bound : h;  // NaN passes
}

[[gnu::always_inline]] inline float within(float h, float bound) {
  h = h < -bound ? -bound : h;
  return h > bound ? bound : h;
}

// Both forms are h s(h), with s(h) the logistic function of 2 u for tanh, because (1 + tanh u) / 2
// is that, and the cumulative normal distribution for erf.
template <Gelu kind>
[[gnu::always_inline]] inline float gelu(float h) {
  if constexpr (kind == Gelu::tanh) {
    h = at_least(h, -kTanhBound);
    const float u = kSqrt2OverPi * h * (1.0f + kCubic * h * h);
    return h / (1.0f + fast_exp(-2.0f * u));
  } else {
    h = at_least(h, -kErfBound);
    const float z = h < 0 ? -h : h;
    const float tail = normal_tail_ratio(z) * fast_exp(-0.5f * z * z);  // Phi(-|h|)
    return h * (h < 0 ? tail : 1.0f - tail);
  }
}

template <Gelu kind>
[[gnu::always_inline]] inline float gelu_derivative(float h) {
  if constexpr (kind == Gelu::tanh) {
    h = within(h, kTanhBound);
    const float u = kSqrt2OverPi * h * (1.0f + kCubic * h * h);
    const float du = kSqrt2OverPi * (1.0f + 3.0f * kCubic * h * h);
    const float e = fast_exp(-2.0f * u);
    const float s = 1.0f / (1.0f + e);
    return s + 2.0f * h * du * s * (s * e);  // s e = 1 - s
  } else {
    constexpr float kOneOverSqrt2Pi = 0.398942280f;
    h = within(h, kErfBound);
    const float z = h < 0 ? -h : h;
    const float e = fast_exp(-0.5f * z * z);
    const float tail = normal_tail_ratio(z) * e;
    return (h < 0 ? tail : 1.0f - tail) + h * (kOneOverSqrt2Pi * e);
  }
}

template <Gelu kind>
void forward(const GeluForward& op, Cpu& cpu) {
  const int64_t N = op.x.dim(0), F = op.x.dim(1);
  const float* in = op.x.as<float>();
  const float* bias = op.bias ? op.bias.as<float>() : nullptr;
  float* out = op.y.as<float>();
  if (!bias) {
    parallel_ranges(cpu, N * F, 1024, [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = gelu<kind>(in[i]);
    });
    return;
  }
  parallel_ranges(cpu, N, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* row = in + n * F;
      float* to = out + n * F;
#pragma omp simd
      for (int64_t f = 0; f < F; ++f) to[f] = gelu<kind>(row[f] + bias[f]);
    }
  });
}

template <Gelu kind>
void backward(const GeluBackward& op, Cpu& cpu) {
  const int64_t N = op.x.dim(0), F = op.x.dim(1);
  const float *in = op.x.as<float>(), *grad = op.dy.as<float>();
  float* out = op.dx.as<float>();
  if (!op.bias) {
    parallel_ranges(cpu, N * F, 1024, [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = grad[i] * gelu_derivative<kind>(in[i]);
    });
    return;
  }
  const float* bias = op.bias.as<float>();
  const int64_t blocks = sum_blocks(N);
  auto* sums = static_cast<float*>(cpu.workspace(static_cast<size_t>(blocks * F) * sizeof(float)));
  for_each_sum_block(cpu, N, [&](int64_t block, int64_t begin, int64_t end) {
    float* sum = sums + block * F;
    std::fill(sum, sum + F, 0.0f);
    for (int64_t n = begin; n < end; ++n) {
      const float *row = in + n * F, *grad_row = grad + n * F;
      float* to = out + n * F;
#pragma omp simd
      for (int64_t f = 0; f < F; ++f) {
        const float d = grad_row[f] * gelu_derivative<kind>(row[f] + bias[f]);
        to[f] = d;
        sum[f] += d;
      }
    }
  });
  add_column_sums(cpu, sums, blocks, F, op.dbias.as<float>());
}

}  // namespace

void GeluForward::check() const {
  const char* op = "GeluForward";
  expect_float(x, op, "x", 2);
  expect(y, op, "y", x.dtype(), {x.dim(0), x.dim(1)});
  expect_apart(op, y, "y", x, "x");
  if (bias) {
    expect(bias, op, "bias", x.dtype(), {x.dim(1)});
    expect_apart(op, y, "y", bias, "bias");
  }
}

void GeluForward::run(Cpu& cpu) const {
  kind == Gelu::tanh ? forward<Gelu::tanh>(*this, cpu) : forward<Gelu::erf>(*this, cpu);
}

void GeluBackward::check() const {
  const char* op = "GeluBackward";
  expect_float(x, op, "x", 2);
  expect(dx, op, "dx", x.dtype(), {x.dim(0), x.dim(1)});
  expect(dy, op, "dy", x.dtype(), {x.dim(0), x.dim(1)});
  expect_same_or_apart(op, dx, "dx", dy, "dy");
  expect_apart(op, dx, "dx", x, "x");
  require(static_cast<bool>(bias) == static_cast<bool>(dbias),
          "GeluBackward: {} is given without {}, expected both or neither", bias ? "bias" : "dbias",
          bias ? "dbias" : "bias");
  if (bias) {
    expect(bias, op, "bias", x.dtype(), {x.dim(1)});
    expect(dbias, op, "dbias", DType::f32, {x.dim(1)});
    expect_apart(op, dx, "dx", bias, "bias");
    expect_apart(op, dbias, "dbias", dx, "dx");
  }
}

void GeluBackward::run(Cpu& cpu) const {
  kind == Gelu::tanh ? backward<Gelu::tanh>(*this, cpu) : backward<Gelu::erf>(*this, cpu);
}

}  // namespace midfill
