#include "kernels/common/column_sums.cuh"
#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/ptx.h"
#include "kernels/common/vector8.cuh"
#include "kernels/gelu.h"

namespace midfill {

namespace {

// The same forms and bounds as in gelu.cpp, with e^x = 2^(x log2 e).
constexpr float kSqrt2OverPi = 0.797884561f, kCubic = 0.044715f, kLog2E = 1.44269504f;
constexpr float kTanhBound = 9.0f, kErfBound = 12.5f;

__device__ __forceinline__ float at_least(float h, float bound) {
  return h < bound ? bound : h;  // NaN passes
}

__device__ __forceinline__ float within(float h, float bound) {
  h = h < -bound ? -bound : h;
  return h > bound ? bound : h;
}

// e^(-2 u), where tanh u is what the tanh form is made of.
__device__ __forceinline__ float exp_minus_2u(float h) {
  return ptx::ex2(-2.0f * kLog2E * kSqrt2OverPi * h * (1.0f + kCubic * h * h));
}

// Phi(-z) / exp(-z^2 / 2) for z >= 0: see vecmath.h.
__device__ __forceinline__ float normal_tail_ratio(float z) {
  const float t = __fdividef(1.0f, 1.0f + 0.3f * z);
  return t * (0.119623255f +
              t * (0.120845641f +
                   t * (0.0993464386f +
                        t * (0.130418713f +
                             t * (-0.0571716515f +
                                  t * (0.210123093f + t * (-0.159381077f + t * 0.036195532f)))))));
}

template <Gelu kKind>
__device__ __forceinline__ float gelu(float h) {
  if constexpr (kKind == Gelu::tanh) {
    h = at_least(h, -kTanhBound);
    return __fdividef(h, 1.0f + exp_minus_2u(h));
  } else {
    h = at_least(h, -kErfBound);
    const float z = fabsf(h);
    const float tail = normal_tail_ratio(z) * ptx::ex2(-0.5f * kLog2E * z * z);  // Phi(-|h|)
    return h * (h < 0 ? tail : 1.0f - tail);
  }
}

template <Gelu kKind>
__device__ __forceinline__ float gelu_derivative(float h) {
  if constexpr (kKind == Gelu::tanh) {
    h = within(h, kTanhBound);
    const float du = kSqrt2OverPi * (1.0f + 3.0f * kCubic * h * h);
    const float e = exp_minus_2u(h);
    const float s = __fdividef(1.0f, 1.0f + e);
    return s + 2.0f * h * du * s * (s * e);  // s e = 1 - s
  } else {
    constexpr float kOneOverSqrt2Pi = 0.398942280f;
    h = within(h, kErfBound);
    const float z = fabsf(h);
    const float e = ptx::ex2(-0.5f * kLog2E * z * z);
    const float tail = normal_tail_ratio(z) * e;
    return (h < 0 ? tail : 1.0f - tail) + h * (kOneOverSqrt2Pi * e);
  }
}

// The thread's eight biases; zeros without bias.
template <typename T>
__device__ __forceinline__ void load_bias(float (&to)[8], const T* bias, int64_t column) {
  if (bias) {
    load8(to, bias + column);
  } else {
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) to[i] = 0.0f;
  }
}

template <typename T, Gelu kKind>
__global__ void __launch_bounds__(ColumnWalk::kThreads)
    forward(T* y, const T* x, const T* bias, ColumnWalk walk) {
  if (!walk.has_columns()) return;
  const int64_t column = walk.column();
  float b[8];
  load_bias(b, bias, column);
  walk.for_each_row([&](int64_t row) {
    float h[8];
    load8(h, x + row * walk.columns + column);
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) h[i] = gelu<kKind>(h[i] + b[i]);
    store8(y + row * walk.columns + column, h);
  });
}

// dx may be dy. `partials` is null where there is no bias. The sums are of dx before it is rounded.
template <typename T, Gelu kKind>
__global__ void __launch_bounds__(ColumnWalk::kThreads)
    backward(T* dx, const T* dy, const T* x, const T* bias, ColumnWalk walk, float* partials) {
  float sums[8] = {};
  if (walk.has_columns()) {
    const int64_t column = walk.column();
    float b[8];
    load_bias(b, bias, column);
    walk.for_each_row([&](int64_t row) {
      const int64_t at = row * walk.columns + column;
      float h[8], d[8];
      load8(h, x + at);
      load8(d, dy + at);
      SIMT_UNROLL
      for (int i = 0; i < 8; ++i) {
        d[i] *= gelu_derivative<kKind>(h[i] + b[i]);
        sums[i] += d[i];
      }
      store8(dx + at, d);
    });
  }
  if (partials) walk.store(sums, partials);
}

template <typename T, Gelu kKind>
void run_forward(const GeluForward& op, Cuda& cuda) {
  const ColumnWalk walk{op.x.dim(0), op.x.dim(1)};
  launch<forward<T, kKind>>(
      {.grid = walk.grid(), .block = ColumnWalk::kThreads, .stream = stream_of(cuda)}, op.y.as<T>(),
      op.x.as<T>(), op.bias ? op.bias.as<T>() : nullptr, walk);
}

template <typename T, Gelu kKind>
void run_backward(const GeluBackward& op, Cuda& cuda) {
  const ColumnWalk walk{op.x.dim(0), op.x.dim(1)};
  float* partials = nullptr;
  if (op.bias)
    partials =
        static_cast<float*>(cuda.workspace(static_cast<size_t>(walk.partials()) * sizeof(float)));
  launch<backward<T, kKind>>(
      {.grid = walk.grid(), .block = ColumnWalk::kThreads, .stream = stream_of(cuda)},
      op.dx.as<T>(), op.dy.as<T>(), op.x.as<T>(), op.bias ? op.bias.as<T>() : nullptr, walk,
      partials);
  if (op.bias) add_column_sums(cuda, partials, walk.blocks(), walk.columns, op.dbias.as<float>());
}

}  // namespace

void GeluForward::run(Cuda& cuda) const {
  require_multiple_of_8("GeluForward", "width", x.dim(1));
  const bool narrow = x.dtype() == DType::bf16;
  if (kind == Gelu::tanh)
    narrow ? run_forward<__nv_bfloat16, Gelu::tanh>(*this, cuda)
           : run_forward<float, Gelu::tanh>(*this, cuda);
  else
    narrow ? run_forward<__nv_bfloat16, Gelu::erf>(*this, cuda)
           : run_forward<float, Gelu::erf>(*this, cuda);
}

void GeluBackward::run(Cuda& cuda) const {
  require_multiple_of_8("GeluBackward", "width", x.dim(1));
  const bool narrow = x.dtype() == DType::bf16;
  if (kind == Gelu::tanh)
    narrow ? run_backward<__nv_bfloat16, Gelu::tanh>(*this, cuda)
           : run_backward<float, Gelu::tanh>(*this, cuda);
  else
    narrow ? run_backward<__nv_bfloat16, Gelu::erf>(*this, cuda)
           : run_backward<float, Gelu::erf>(*this, cuda);
}

}  // namespace midfill
