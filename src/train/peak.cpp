#include "src/train/peak.h"

#include <algorithm>
#include <chrono>

#include "kernels/linear.h"
#include "kernels/memory.h"

namespace midfill {

double measure_peak_tflops(Device& device) {
  constexpr int64_t kSize = 1024;
  constexpr double kFlop = 2.0 * kSize * kSize * kSize;
  constexpr double kSeconds = 0.3;  // long enough to meet an undisturbed product on a busy machine
  const Buffer memory(3 * kSize * kSize * sizeof(float));
  auto* data = static_cast<float*>(memory.data());
  const auto matrix = [&](int64_t i) {
    return Tensor::of(data + i * kSize * kSize, {kSize, kSize});
  };
  const LinearForward product{
      .y = matrix(0), .x = matrix(1), .w = matrix(2), .bias = {}, .residual = {}};
  device.run(Fill{.y = product.x, .value = 0.5f});
  device.run(Fill{.y = product.w, .value = 0.25f});
  using Seconds = std::chrono::duration<double>;
  const auto begin = std::chrono::steady_clock::now();
  Seconds best(1e30), total(0);
  while (total.count() < kSeconds) {
    const auto start = std::chrono::steady_clock::now();
    device.run(product);
    const auto end = std::chrono::steady_clock::now();
    best = std::min(best, Seconds(end - start));
    total = end - begin;
  }
  return kFlop / best.count() / 1e12;
}

}  // namespace midfill
