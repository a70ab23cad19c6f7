// TensorBoard event files: records of length, masked CRC32C of the length, payload, masked CRC32C
// of the payload (the TFRecord framing); the payload is an Event message (event.proto).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/train/append_file.h"

namespace midfill {

// CRC-32C (Castagnoli), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

class TensorBoard {
 public:
  // Starts a new event file in `directory`, which is made where it is not there, for a run that
  // stands at `step`. In a resumed run TensorBoard then forgets what older files say about later
  // steps; the name sorts after theirs, whatever the clock said when they were begun.
  TensorBoard(const std::filesystem::path& directory, int64_t step);

  // Values at the time of the call.
  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);

 private:
  void write(const std::string& event);

  std::optional<AppendFile> file_;
};

}  // namespace midfill
