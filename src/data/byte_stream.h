// The contents of a file, or of standard input, in order, decompressed on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace midfill {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills the front of `out` and returns how much, 0 only at the end. Throws Error (file, offset)
  // for data that is corrupt, truncated or wants more memory than the limit.
  virtual size_t read(std::span<char> out) = 0;
  // Bytes of the file, as stored, that are behind.
  virtual uint64_t consumed() const = 0;
};

// By the end of the name: ".zst" (any number of frames, skippable ones passed over, windows up to
// 128 MiB), ".gz" (any number of members), else the bytes as they are. Memory is bounded whatever
// the data.
std::unique_ptr<ByteStream> open_stream(const std::string& path);

// Standard input; compressed or not by its first bytes, as JSON and text never begin like zstd or
// gzip. `stop`, where set, is asked now and then while nothing comes: true ends the stream.
std::unique_ptr<ByteStream> open_standard_input(std::function<bool()> stop = nullptr);

inline constexpr const char* kStandardInput = "standard input";  // its name in messages

}  // namespace midfill
