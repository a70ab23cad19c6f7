// safetensors files: read with every rule of the format enforced, written so that Hugging Face
// loads them. A file is the header's size N (u64, little-endian), N bytes of JSON that may end in
// spaces, then the data, which the tensors tile without hole or overlap.
// Source: github.com/huggingface/safetensors, README "Format" and src/tensor.rs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/tensor.h"
#include "src/io/file.h"
#include "src/io/one_line.h"

namespace midfill {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", "F16", "F64", "I64", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian; may be unaligned when read

  // An f32 tensor, or its first elements where `shape` is smaller, as an entry to write.
  static SafetensorsEntry of(std::string name, const Tensor& tensor, std::vector<int64_t> shape);
};

class SafetensorsFile {
 public:
  // Throws Error (file, tensor, found, expected) for any breach of the format.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  // In the header's order.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  const SafetensorsEntry* find(std::string_view name) const;  // nullptr where absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> place in entries_
  std::map<std::string, std::string> metadata_;
};

// Converts F32, F64, F16, BF16 to f32. Throws Error for other dtypes or a wrong size.
void copy_as_f32(const SafetensorsEntry& entry, const std::filesystem::path& file,
                 std::span<float> out);

// Written through AtomicFile; entries in the order given, the data at a multiple of 8 bytes.
// Throws Error where an entry's bytes do not fit its dtype and shape.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<SafetensorsEntry>& entries,
                       const std::map<std::string, std::string>& metadata,
                       AtomicFile::Existing existing = AtomicFile::Existing::refuse);

// "(2, 3)", shortened; for messages.
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace midfill
