#include "src/data/fingerprint.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "src/data/dataset_format.h"
#include "src/io/file.h"
#include "src/io/hash.h"

namespace midfill {

namespace {

constexpr uint64_t kBlockBytes = uint64_t{256} << 10;
constexpr uint64_t kBlocks = 1024;  // of a file that has more

void add_file(Hash& hash, const std::filesystem::path& path) {
  const MappedFile file(path);
  const uint64_t size = file.bytes().size();
  hash.add(std::as_bytes(std::span(&size, 1)));
  std::vector<std::byte> block(kBlockBytes);
  const auto add = [&](uint64_t offset) {
    const auto part = std::span(block).first(std::min(kBlockBytes, size - offset));
    file.read(offset, part);
    hash.add(part);
  };
  if (size <= kBlocks * kBlockBytes) {
    for (uint64_t offset = 0; offset < size; offset += kBlockBytes) add(offset);
  } else {
    // In double: the product would overflow from 16 PiB on.
    const double stride = static_cast<double>(size - kBlockBytes) / double{kBlocks - 1};
    for (uint64_t i = 0; i + 1 < kBlocks; ++i)
      add(static_cast<uint64_t>(stride * static_cast<double>(i)));
    add(size - kBlockBytes);
  }
}

}  // namespace

std::string fingerprint_of_file(const std::filesystem::path& path) {
  Hash hash;
  add_file(hash, path);
  return hash.text();
}

std::string fingerprint_of_dataset(const std::string& prefix) {
  Hash hash;
  add_file(hash, bin_path(prefix));
  add_file(hash, idx_path(prefix));
  return hash.text();
}

}  // namespace midfill
