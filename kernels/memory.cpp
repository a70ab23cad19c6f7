#include "kernels/memory.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/parallel.h"

namespace midfill {

namespace {
constexpr int64_t kGrain = 16384;  // elements

// y has the shape of x, this dtype, and memory of its own.
void expect_shape_of_x(const char* op, const Tensor& y, const Tensor& x, DType dtype) {
  expect_rank(y, op, "y", dtype, x.rank());
  for (int i = 0; i < x.rank(); ++i)
    require(y.dim(i) == x.dim(i), "{}: y is {} {}, expected {} {}", op, name_of(y.dtype()),
            y.shape_text(), name_of(dtype), x.shape_text());
  expect_apart(op, y, "y", x, "x");
}

template <typename To, typename From>
void cast(Cpu& cpu, const Tensor& y, const Tensor& x) {
  To* to = y.as<To>();
  const From* from = x.as<From>();
  parallel_ranges(cpu, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) to[i] = static_cast<To>(static_cast<float>(from[i]));
  });
}

}  // namespace

void Fill::check() const {
  expect_rank(y, "Fill", "y", DType::f32, y.rank());
}

void Fill::run(Cpu& cpu) const {
  float* out = y.as<float>();
  parallel_ranges(cpu, y.numel(), kGrain,
                  [&](int64_t begin, int64_t end) { std::fill(out + begin, out + end, value); });
}

void Copy::check() const {
  expect_rank(x, "Copy", "x", x.dtype(), x.rank());
  expect_shape_of_x("Copy", y, x, x.dtype());
}

void Copy::run(Cpu& cpu) const {
  auto* to = static_cast<char*>(y.data());
  const auto* from = static_cast<const char*>(x.data());
  parallel_ranges(cpu, x.bytes(), 4 * kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

void Cast::check() const {
  expect_float(x, "Cast", "x", x.rank());
  expect_shape_of_x("Cast", y, x, x.dtype() == DType::f32 ? DType::bf16 : DType::f32);
}

void Cast::run(Cpu& cpu) const {
  if (x.dtype() == DType::f32)
    cast<Bf16, float>(cpu, y, x);
  else
    cast<float, Bf16>(cpu, y, x);
}

}  // namespace midfill
