// What a tokenizer is learnt from: how often each piece of the pre-tokenizer occurs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace midfill {

// The longest run of spaces that is a token.
constexpr int kLongestSpaceRun = 24;

// Counts of the texts added, after NFC, by the GPT-2 pattern. With `space_runs`, runs of two and
// more spaces are no pieces: they will be added tokens.
class PieceCounts {
 public:
  explicit PieceCounts(bool space_runs) : space_runs_(space_runs) {}

  // Invalid UTF-8 is replaced as the encoder does. Pieces over 1,024 bytes (encoded data, lines of
  // one character) are not counted: nothing is learnt from them.
  void add(std::string_view text);
  // Adds the counts of another, made with the same options.
  void add(const PieceCounts& other);

  bool space_runs() const { return space_runs_; }
  const std::unordered_map<std::string, int64_t>& counts() const { return counts_; }

 private:
  void add_pieces(std::string_view text);

  bool space_runs_;
  std::unordered_map<std::string, int64_t> counts_;
  std::string piece_, normal_form_;
};

// What went into the counts of files.
struct CountedFiles {
  int64_t files = 0, bytes = 0;
  int64_t binary_files = 0;  // passed over: a NUL byte among the first 8,000
};

// Counts files in parallel. A `.jsonl` file holds {"text": ...} lines; any other is one text. The
// counts do not depend on `threads` (0: as many as the process may use). Throws Error for a file
// that cannot be read or a bad line of JSON.
CountedFiles count_files(const std::vector<std::filesystem::path>& files, int threads,
                         PieceCounts& counts);

}  // namespace midfill
