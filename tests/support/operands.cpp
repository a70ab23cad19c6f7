#include "tests/support/operands.h"

#include <algorithm>
#include <cstring>

namespace midfill::test {

OperandCopies::OperandCopies(const std::vector<Tensor*>& tensors,
                             const std::vector<Tensor*>& narrow, Device* device)
    : device_(device) {
  for (const Tensor* t : tensors) {
    if (!*t || t->bytes() == 0) continue;
    auto* begin = static_cast<char*>(t->data());
    blocks_.push_back({begin, begin + t->bytes(), std::ranges::count(narrow, t) > 0, {}, {}});
  }
  std::ranges::sort(blocks_, {}, &Block::begin);
  std::vector<Block> merged;
  for (Block& block : blocks_) {
    if (merged.empty() || merged.back().end <= block.begin) {
      merged.push_back(std::move(block));
      continue;
    }
    require(merged.back().narrow == block.narrow, "operands overlap, but only one is narrow");
    merged.back().end = std::max(merged.back().end, block.end);
  }
  blocks_ = std::move(merged);

  for (Block& block : blocks_) {
    const int64_t bytes = block.end - block.begin;
    std::vector<Bf16> rounded;
    const void* from = block.begin;
    if (block.narrow) {
      const auto* values = reinterpret_cast<const float*>(block.begin);
      for (int64_t i = 0; i < bytes / 4; ++i) rounded.emplace_back(values[i]);
      from = rounded.data();
    }
    const int64_t copied = block.narrow ? bytes / 2 : bytes;
    const auto size = static_cast<size_t>(copied);
    block.memory = device_ ? device_->allocate(size) : Buffer(size);
    const bool words = copied % 4 == 0;
    block.flat = Tensor(block.memory.data(), words ? DType::i32 : DType::bf16,
                        {words ? copied / 4 : copied / 2});
    if (device_)
      device_->upload(block.flat, from);
    else
      std::memcpy(block.memory.data(), from, size);
  }

  for (Tensor* t : tensors) {
    if (!*t || t->bytes() == 0) continue;
    auto* begin = static_cast<char*>(t->data());
    const auto block = std::ranges::find_if(
        blocks_, [&](const Block& b) { return b.begin <= begin && begin < b.end; });
    int64_t offset = begin - block->begin;
    if (block->narrow) offset /= 2;
    std::vector<int64_t> dims;
    for (int i = 0; i < t->rank(); ++i) dims.push_back(t->dim(i));
    *t = Tensor(static_cast<char*>(block->memory.data()) + offset,
                block->narrow ? DType::bf16 : t->dtype(), dims);
  }
}

void OperandCopies::bring_back() {
  for (const Block& block : blocks_) {
    std::vector<char> bytes(static_cast<size_t>(block.end - block.begin));
    if (device_)
      device_->download(bytes.data(), block.flat);
    else
      std::memcpy(bytes.data(), block.memory.data(), bytes.size());
    // Operands that are only read may be constants.
    if (std::memcmp(block.begin, bytes.data(), bytes.size()) != 0)
      std::memcpy(block.begin, bytes.data(), bytes.size());
  }
}

std::vector<float> OperandCopies::floats_of(const Tensor& copy) {
  if (!device_) return to_floats(copy);
  const Buffer host(static_cast<size_t>(copy.bytes()));
  device_->download(host.data(), copy);
  return to_floats(Tensor(host.data(), copy.dtype(), {copy.numel()}));
}

std::vector<float> to_floats(const Tensor& t) {
  std::vector<float> values;
  for (int64_t i = 0; i < t.numel(); ++i) {
    if (t.dtype() == DType::f32)
      values.push_back(t.as<float>()[i]);
    else if (t.dtype() == DType::f64)
      values.push_back(static_cast<float>(t.as<double>()[i]));
    else
      values.push_back(static_cast<float>(t.as<Bf16>()[i]));
  }
  return values;
}

void round_to_bf16(const Tensor& t) {
  auto* values = t.as<float>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = static_cast<float>(Bf16(values[i]));
}

}  // namespace midfill::test
