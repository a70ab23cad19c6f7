// safetensors files: read with every rule of the format enforced, written so that Hugging Face
// loads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/io/file.h"

namespace midfill {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", "F16", "F64", "I64", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

class SafetensorsFile {
 public:
  // Throws Error (file, tensor, found, expected) for any breach of the format.
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  const SafetensorsEntry* find(std::string_view name) const;  // nullptr where absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Converts F32, F64, F16, BF16 to f32. Throws Error for other dtypes or a wrong size.
void copy_as_f32(const SafetensorsEntry& entry, const std::filesystem::path& file,
                 std::span<float> out);

// Written through AtomicFile; entries in the order given, each starting at a multiple of 8 bytes.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<SafetensorsEntry>& entries,
                       const std::map<std::string, std::string>& metadata,
                       AtomicFile::Existing existing = AtomicFile::Existing::refuse);

}  // namespace midfill
