#include "src/train/peak.h"

#include <algorithm>
#include <chrono>

#include "kernels/linear.h"
#include "kernels/memory.h"

namespace midfill {

namespace {

struct Datasheet {
  std::string_view name;
  double bf16, f32;  // TFLOP/s
  double gb_per_s;
};

// Whole names, because their relatives (H100 NVL, H200 NVL, RTX 4090 D) are other devices.
// Source: NVIDIA's data sheets of each; GeForce from "NVIDIA Ada GPU Architecture", bf16 with sums
// in f32.
constexpr Datasheet kDatasheets[] = {
    {"NVIDIA H100 80GB HBM3", 989.4, 66.9, 3350},
    {"NVIDIA H100 PCIe", 756.0, 51.2, 2000},
    {"NVIDIA H200", 989.4, 66.9, 4800},
    {"NVIDIA A100-SXM4-40GB", 312.0, 19.5, 1555},
    {"NVIDIA A100-SXM4-80GB", 312.0, 19.5, 2039},
    {"NVIDIA A100-PCIE-40GB", 312.0, 19.5, 1555},
    {"NVIDIA A100 80GB PCIe", 312.0, 19.5, 1935},
    {"NVIDIA L40S", 362.0, 91.6, 864},
    {"NVIDIA GeForce RTX 4090", 165.2, 82.6, 1008},
};

}  // namespace

double datasheet_tflops(std::string_view name, DType dtype) {
  for (const Datasheet& sheet : kDatasheets)
    if (sheet.name == name) return dtype == DType::bf16 ? sheet.bf16 : sheet.f32;
  return 0.0;
}

double datasheet_gb_per_s(std::string_view name) {
  for (const Datasheet& sheet : kDatasheets)
    if (sheet.name == name) return sheet.gb_per_s;
  return 0.0;
}

Peak peak_of(Device& device, DType dtype) {
  if (!device.is_cuda())
    return {measure_peak_tflops(device), "fp32 matrix product measured here just now"};
  const double tflops = datasheet_tflops(device.cuda().name(), dtype);
  if (tflops > 0) return {tflops, fmt::format("data sheet, {}", name_of(dtype))};
  return {0.0, "give log.peak_tflops"};
}

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
