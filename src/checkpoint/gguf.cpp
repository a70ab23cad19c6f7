#include "src/checkpoint/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/common/bf16.h"
#include "kernels/common/check.h"
#include "src/checkpoint/f16.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;  // the default, where no key says otherwise
constexpr size_t kBlock = 1 << 16;   // elements converted at once

// gguf_type
constexpr uint32_t kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9;

template <typename Number>
void append(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void append_string(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out += text;
}

uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

uint64_t elements_of(const GgufTensor& tensor) {
  uint64_t elements = 0;
  for (const auto& part : tensor.parts) elements += part.size();
  return elements;
}

uint64_t bytes_of(const GgufTensor& tensor) {
  return elements_of(tensor) * (tensor.dtype == GgufDtype::f32 ? 4 : 2);
}

std::string header(const GgufKeys& keys, std::span<const GgufTensor> tensors,
                   const std::filesystem::path& path) {
  std::string out(kMagic);
  append(out, kVersion);
  append(out, uint64_t{tensors.size()});
  append(out, keys.count());
  out += keys.bytes();
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    uint64_t elements = 1;
    for (const int64_t dim : tensor.shape) elements *= static_cast<uint64_t>(dim);
    require(elements == elements_of(tensor), "{}: tensor {}: {} elements for a shape of {}",
            path.string(), in_quotes(tensor.name), elements_of(tensor), elements);
    append_string(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim)
      append(out, static_cast<uint64_t>(*dim));
    append(out, static_cast<uint32_t>(tensor.dtype));
    append(out, offset);
    offset = aligned(offset + bytes_of(tensor));
  }
  out.resize(aligned(out.size()), '\0');
  return out;
}

// Writes the elements of a tensor as numbers of type Stored.
template <typename Stored>
void write_as(AtomicFile& file, const std::filesystem::path& path, const GgufTensor& tensor) {
  std::vector<Stored> block;
  uint64_t done = 0;
  for (std::span<const float> part : tensor.parts) {
    while (!part.empty()) {
      const auto values = part.first(std::min(part.size(), kBlock));
      block.resize(values.size());
      bool finite = true;
      for (size_t i = 0; i < values.size(); ++i) {
        block[i] = Stored(values[i]);
        finite &= std::isfinite(static_cast<float>(block[i]));
      }
      if (!finite) {
        const auto bad = std::ranges::find_if(
            values, [](float v) { return !std::isfinite(static_cast<float>(Stored(v))); });
        fail("{}: tensor {} holds {} at element {}, which is no finite number in {}", path.string(),
             in_quotes(tensor.name), *bad, done + static_cast<uint64_t>(bad - values.begin()),
             name_of(tensor.dtype));
      }
      file.write(block.data(), block.size() * sizeof(Stored));
      done += values.size();
      part = part.subspan(values.size());
    }
  }
}

}  // namespace

std::string_view name_of(GgufDtype dtype) {
  switch (dtype) {
    case GgufDtype::f32:
      return "f32";
    case GgufDtype::f16:
      return "f16";
    case GgufDtype::bf16:
      return "bf16";
  }
  return "?";
}

void GgufKeys::begin(std::string_view key, uint32_t type) {
  append_string(bytes_, key);
  append(bytes_, type);
  ++count_;
}

void GgufKeys::add(std::string_view key, uint32_t value) {
  begin(key, kUint32);
  append(bytes_, value);
}

void GgufKeys::add(std::string_view key, float value) {
  begin(key, kFloat32);
  append(bytes_, value);
}

void GgufKeys::add(std::string_view key, bool value) {
  begin(key, kBool);
  append(bytes_, static_cast<uint8_t>(value));
}

void GgufKeys::add(std::string_view key, std::string_view value) {
  begin(key, kString);
  append_string(bytes_, value);
}

void GgufKeys::add(std::string_view key, std::span<const int32_t> values) {
  begin(key, kArray);
  append(bytes_, kInt32);
  append(bytes_, uint64_t{values.size()});
  for (const int32_t value : values) append(bytes_, value);
}

void GgufKeys::add(std::string_view key, std::span<const std::string> values) {
  begin(key, kArray);
  append(bytes_, kString);
  append(bytes_, uint64_t{values.size()});
  for (const std::string& value : values) append_string(bytes_, value);
}

void write_gguf(AtomicFile& file, const std::filesystem::path& path, const GgufKeys& keys,
                std::span<const GgufTensor> tensors) {
  file.write(header(keys, tensors, path));
  for (const GgufTensor& tensor : tensors) {
    switch (tensor.dtype) {
      case GgufDtype::f32:
        write_as<float>(file, path, tensor);
        break;
      case GgufDtype::f16:
        write_as<F16>(file, path, tensor);
        break;
      case GgufDtype::bf16:
        write_as<Bf16>(file, path, tensor);
        break;
    }
    const uint64_t bytes = bytes_of(tensor);
    file.write(std::string(aligned(bytes) - bytes, '\0'));
  }
}

}  // namespace midfill
