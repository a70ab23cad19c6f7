#include "src/tokenizer/piece_counts.h"

#include <algorithm>

#include "src/tokenizer/pre_tokenizer.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {
constexpr size_t kMaxPieceBytes = 1024;
}  // namespace

void PieceCounts::add(std::string_view text) {
  std::string repaired;
  if (!unicode::is_valid_utf8(text)) {
    repaired = unicode::replace_invalid_utf8(text);
    text = repaired;
  }
  text = unicode::nfc(text, normal_form_);
  if (!space_runs_) return add_pieces(text);
  // The encoder takes runs of 2 or more spaces out before the pattern sees the text; of a run of
  // 24 k + 1 spaces the last stays in it.
  for (size_t at = 0; at < text.size();) {
    size_t run = text.find("  ", at);
    if (run == std::string_view::npos) run = text.size();
    size_t end = std::min(text.find_first_not_of(' ', run), text.size());
    if ((end - run) % kLongestSpaceRun == 1) --end;
    add_pieces(text.substr(at, run - at));
    at = end;
  }
}

void PieceCounts::add_pieces(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = gpt2_piece_end(text, at);
    if (end - at <= kMaxPieceBytes) {
      piece_.assign(text, at, end - at);
      ++counts_[piece_];
    }
    at = end;
  }
}

void PieceCounts::add(const PieceCounts& other) {
  for (const auto& [piece, count] : other.counts_) counts_[piece] += count;
}

// No piece, normalisation or run of spaces reaches over a newline after a printable ASCII
// character.
size_t PieceCounts::safe_cut(std::string_view text, size_t at) {
  if (at == 0) return 0;
  while ((at = text.find('\n', at)) != std::string_view::npos) {
    if (text[at - 1] > ' ' && text[at - 1] <= '~') return at;
    ++at;
  }
  return text.size();
}

}  // namespace midfill
