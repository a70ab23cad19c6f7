#include "src/bench/operands.h"

#include <algorithm>

#include "kernels/common/rng.h"
#include "kernels/memory.h"

namespace midfill {

namespace {

// Normal numbers are drawn once and repeated; a prime, so that no two rows of a matrix begin alike.
constexpr int64_t kPool = 1048573;
constexpr uint64_t kSeed = 1;

const std::vector<float>& pool() {
  static const std::vector<float> values = [] {
    std::vector<float> drawn(kPool);
    constexpr int64_t kBlock = 4096;
    for (int64_t begin = 0; begin < kPool; begin += kBlock) {
      Rng rng(kSeed, Purpose::kBench, 0, 0, static_cast<uint64_t>(begin));
      for (int64_t i = begin; i < std::min(begin + kBlock, kPool); ++i)
        drawn[static_cast<size_t>(i)] = static_cast<float>(rng.normal());
    }
    return drawn;
  }();
  return values;
}

template <typename T>
void fill_from_pool(Device& device, const Tensor& t, double scale) {
  std::vector<T> values;
  for (float value : pool()) values.push_back(T(static_cast<float>(scale) * value));
  for (int64_t begin = 0; begin < t.numel(); begin += kPool)
    device.upload(Tensor::of(t.as<T>() + begin, {std::min(kPool, t.numel() - begin)}),
                  values.data());
}

}  // namespace

Tensor Operands::empty(DType dtype, const std::vector<int64_t>& dims) {
  constexpr double kMost = 0x1p48;
  double elements = 1;
  for (int64_t dim : dims) elements *= static_cast<double>(dim);
  require(elements <= kMost, "bench: an operand of {:.3g} elements, expected at most {:.3g}",
          elements, kMost);
  const auto bytes = static_cast<size_t>(elements) * static_cast<size_t>(size_of(dtype));
  memory_.push_back(device_->allocate(bytes));
  return {memory_.back().data(), dtype, dims};
}

Tensor Operands::constant(const std::vector<int64_t>& dims, float value) {
  const Tensor t = empty(DType::f32, dims);
  device_->run(Fill{.y = t, .value = value});
  return t;
}

Tensor Operands::zeros(const std::vector<int64_t>& dims) {
  return constant(dims, 0.0f);
}

Tensor Operands::normal(DType dtype, const std::vector<int64_t>& dims, double scale) {
  const Tensor t = empty(dtype, dims);
  if (dtype == DType::bf16)
    fill_from_pool<Bf16>(*device_, t, scale);
  else
    fill_from_pool<float>(*device_, t, scale);
  return t;
}

Tensor Operands::ids(int64_t n, int64_t below) {
  const Tensor t = empty(DType::i32, {n});
  std::vector<int32_t> values(static_cast<size_t>(n));
  Rng rng(kSeed, Purpose::kBench, 0, 1);
  for (int32_t& value : values)
    value = static_cast<int32_t>(rng.below(static_cast<uint64_t>(below)));
  device_->upload(t, values.data());
  return t;
}

}  // namespace midfill
