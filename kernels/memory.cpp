#include "kernels/memory.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/parallel.h"

namespace midfill {

namespace {
constexpr int64_t kGrain = 16384;  // elements
}

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
  expect_rank(y, "Copy", "y", x.dtype(), x.rank());
  for (int i = 0; i < x.rank(); ++i)
    require(y.dim(i) == x.dim(i), "Copy: y is {} {}, expected {} {}", name_of(y.dtype()),
            y.shape_text(), name_of(x.dtype()), x.shape_text());
  expect_apart("Copy", y, "y", x, "x");
}

void Copy::run(Cpu& cpu) const {
  auto* to = static_cast<char*>(y.data());
  const auto* from = static_cast<const char*>(x.data());
  parallel_ranges(cpu, x.bytes(), 4 * kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

}  // namespace midfill
