// GGUF files, written: what llama.cpp and the programs built on it load.
//
//   "GGUF"  version u32  number of tensors u64  number of keys u64
//   for each key     name, type u32, value
//   for each tensor  name, number of dimensions u32, dimensions u64 (the innermost first),
//                    type u32, where it begins in the data u64
//   zeros up to a multiple of 32 bytes, then the data, each tensor at a multiple of 32
//
// A string is its length u64 and its bytes; all numbers are little-endian. Source:
// github.com/ggml-org/ggml, docs/gguf.md (version 3) and include/gguf.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/io/file.h"

namespace midfill {

// How the elements of a tensor are stored; the values are those of ggml_type.
enum class GgufDtype : uint32_t { f32 = 0, f16 = 1, bf16 = 30 };

// "f32", "f16", "bf16".
std::string_view name_of(GgufDtype dtype);

// The keys of a file, in the order in which they are added. A key is added once.
class GgufKeys {
 public:
  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, std::span<const int32_t> values);
  void add(std::string_view key, std::span<const std::string> values);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, uint32_t type);

  std::string bytes_;
  uint64_t count_ = 0;
};

struct GgufTensor {
  std::string name;
  GgufDtype dtype = GgufDtype::f32;
  std::vector<int64_t> shape;                 // the outermost dimension first
  std::vector<std::span<const float>> parts;  // one after the other, the tensor's elements
};

// Appends the whole file to `file`, which the caller commits. Elements are rounded to nearest, ties
// to even, a block at a time. Throws Error (file, tensor, value, element) for one that is not
// finite, or is not after rounding.
void write_gguf(AtomicFile& file, const std::filesystem::path& path, const GgufKeys& keys,
                std::span<const GgufTensor> tensors);

}  // namespace midfill
