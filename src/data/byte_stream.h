// The contents of a file, or of standard input, in order, decompressed on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/common/check.h"

namespace midfill {

// Compressed data that are corrupt, cut off, or want more memory than the limit.
class BadCompression : public Error {
 public:
  BadCompression(const std::string& file, std::string what)
      : Error(file + ": " + what), what_(std::move(what)) {}
  const std::string& without_file() const { return what_; }

 private:
  std::string what_;
};

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills the front of `out` and returns how much, 0 only at the end. Throws BadCompression, or
  // Error (file, offset) for a file that cannot be read or was cut while in use.
  virtual size_t read(std::span<char> out) = 0;
  // Bytes of the file, as stored, that are behind.
  virtual uint64_t consumed() const = 0;
};

// What a file may ask for to be decompressed: the largest window of `zstd --long=31`, and as much
// for xz. It is taken only where a file needs it; gzip and bzip2 need next to nothing.
inline constexpr uint64_t kDecompressionMemory = uint64_t{2} << 30;

// Compressed or not is told by the first bytes, whatever the name: gzip, zstd, xz and bzip2, each
// any number of members, frames or streams, one after the other, with zero bytes between and behind
// them passed over, and zstd's skippable frames. Where the first bytes say nothing, but the name
// ends as a compressed file's does, it is read as what the name says, and so refused.
std::unique_ptr<ByteStream> open_stream(const std::string& path,
                                        uint64_t memory = kDecompressionMemory);

// Standard input; compressed or not by its first bytes. `stop`, where set, is asked now and then
// while nothing comes: true ends the stream.
std::unique_ptr<ByteStream> open_standard_input(std::function<bool()> stop = nullptr);

inline constexpr const char* kStandardInput = "standard input";  // its name in messages

// "a.jsonl" for "a.jsonl.gz", .zst, .zstd, .xz or .bz2, in letters of any case; other names whole.
std::string_view without_compression_ending(std::string_view name);

}  // namespace midfill
