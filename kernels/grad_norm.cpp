#include "kernels/grad_norm.h"

#include <algorithm>

#include "kernels/common/parallel.h"

namespace midfill {

namespace {
constexpr int64_t kBlock = 4096;  // elements; fixed, because the order of sums follows from it
}

void SquaredNorm::check() const {
  expect(out, "SquaredNorm", "out", DType::f64, {1});
  expect_rank(x, "SquaredNorm", "x", DType::f32, x.rank());
  expect_apart("SquaredNorm", out, "out", x, "x");
}

void SquaredNorm::run(Cpu& cpu) const {
  const float* values = x.as<float>();
  const int64_t n = x.numel(), blocks = (n + kBlock - 1) / kBlock;
  auto* sums = static_cast<double*>(cpu.workspace(static_cast<size_t>(blocks) * sizeof(double)));
  parallel_ranges(cpu, blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t end = std::min(n, (block + 1) * kBlock);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = block * kBlock; i < end; ++i) {
        const auto value = static_cast<double>(values[i]);
        sum += value * value;
      }
      sums[block] = sum;
    }
  });
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += sums[block];
  *out.as<double>() = total;
}

}  // namespace midfill
