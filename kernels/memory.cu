#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/vector8.cuh"
#include "kernels/memory.h"

namespace midfill {

namespace {

constexpr int kThreads = 256;

// Thread i writes the 16 bytes at an aligned address that hold y[4 i - shift] to y[4 i - shift +
// 3], where shift = 0 to 3 elements stand before y in the 16 bytes where it begins.
__global__ void __launch_bounds__(kThreads) fill(float* y, int64_t n, int shift, float value) {
  const int64_t first = 4 * (int64_t{blockIdx.x} * kThreads + threadIdx.x) - shift;
  if (0 <= first && first + 4 <= n) {
    __stwb(reinterpret_cast<float4*>(y + first), make_float4(value, value, value, value));
    return;
  }
  for (int64_t i = first; i < first + 4; ++i)
    if (0 <= i && i < n) y[i] = value;
}

template <typename To, typename From>
__global__ void __launch_bounds__(kThreads) cast(To* y, const From* x, int64_t n) {
  const int64_t i = 8 * (int64_t{blockIdx.x} * kThreads + threadIdx.x);
  if (i + 8 <= n) {
    float values[8];
    load8(values, x + i);
    store8(y + i, values);
    return;
  }
  for (int64_t k = i; k < n; ++k) y[k] = To(float(x[k]));
}

template <typename To, typename From>
void run_cast(const Cast& op, Cuda& cuda) {
  const int64_t n = op.x.numel();
  launch<cast<To, From>>(
      {.grid = blocks_of(n, 8 * kThreads), .block = kThreads, .stream = stream_of(cuda)},
      op.y.as<To>(), op.x.as<From>(), n);
}

}  // namespace

void Fill::run(Cuda& cuda) const {
  const auto shift = static_cast<int>(reinterpret_cast<uintptr_t>(y.data()) / sizeof(float) % 4);
  launch<fill>({.grid = blocks_of(shift + y.numel(), 4 * kThreads),
                .block = kThreads,
                .stream = stream_of(cuda)},
               y.as<float>(), y.numel(), shift, value);
}

void Copy::run(Cuda& cuda) const {
  cuda.copy(y.data(), x.data(), static_cast<size_t>(x.bytes()));
}

void Cast::run(Cuda& cuda) const {
  require_aligned("Cast", "y", y);
  require_aligned("Cast", "x", x);
  if (x.dtype() == DType::f32)
    run_cast<__nv_bfloat16, float>(*this, cuda);
  else
    run_cast<float, __nv_bfloat16>(*this, cuda);
}

}  // namespace midfill
