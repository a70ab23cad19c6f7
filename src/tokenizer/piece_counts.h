// What a tokenizer is learnt from: how often each piece of the pre-tokenizer occurs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

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

  // Where `text` may be cut at byte `at` or behind it, so that its parts have the counts of the
  // whole; its end, where that is nowhere.
  static size_t safe_cut(std::string_view text, size_t at);

  bool space_runs() const { return space_runs_; }
  const std::unordered_map<std::string, int64_t>& counts() const { return counts_; }

 private:
  void add_pieces(std::string_view text);

  bool space_runs_;
  std::unordered_map<std::string, int64_t> counts_;
  std::string piece_, normal_form_;
};

}  // namespace midfill
