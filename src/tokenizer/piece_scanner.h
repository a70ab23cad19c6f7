// The pieces of the GPT-2 pattern, found 64 bytes at a time: each class of characters is a word of
// bits, and where a piece begins follows from these words by shifts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "src/tokenizer/byte_block.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

// Splits well-formed UTF-8 as gpt2_piece_end does; and, where the vocabulary has runs of spaces
// that are matched before the pattern, cuts those out first: a run of 2 or more spaces is then a
// piece of its own, less one space where `longest_space_run` divides the run with remainder 1 (that
// space belongs to what follows). The text beside such a run is matched as if the text ended there.
class PieceScanner {
 public:
  static constexpr size_t kWindow = 4096;  // bytes of text a call of next() looks at

  // longest_space_run: 0, or at least 2. `text` must outlive the scanner.
  PieceScanner(std::string_view text, size_t longest_space_run);

  bool done() const { return at_ >= text_.size(); }
  // Where the next window begins in the text.
  size_t window_begin() const { return at_; }
  // The ends of pieces that lie in the next window, ascending, relative to its begin; 0 where a
  // piece ends just before it. The last end in the last window is the end of the text. Valid until
  // the next call.
  std::span<const uint16_t> next();

 private:
  // What 64 bytes of text are, a bit a byte. All bytes of a character have its class.
  struct Classes {
    uint64_t letter = 0, number = 0, space = 0, other = 0;
    uint64_t blank = 0;       // the ASCII space
    uint64_t apostrophe = 0;  // and the letters of the contractions
    uint64_t s_t_m_d = 0, r_v = 0, e = 0, l = 0;
    uint64_t continuation = 0;  // not the first byte of its character
  };
  // What the bytes just before a word were; the highest bit is the last byte.
  struct Before {
    uint64_t letter = 0, number = 0, other = 0;
    uint64_t space = 0, blank = 0;  // those that are in no run
    uint64_t run = 0;
    uint64_t short_contraction = 0, long_contraction = 0;
  };

  Classes classify(size_t at);
  void classify_not_ascii(size_t at, uint64_t leads, Classes& classes);
  uint64_t space_runs(uint64_t blank, uint64_t next_blank);
  uint64_t begins(const Classes& now, const Classes& next);

  std::string_view text_;
  size_t longest_space_run_;
  size_t at_ = 0;
  Classes ahead_;  // of the 64 bytes at at_
  Before before_;
  size_t run_length_ = 0;      // of the run that the word before ends in
  uint64_t blank_before_ = 0;  // the word before
  // Bytes of a character that began in the word before, and its class.
  unsigned spilled_ = 0;
  unicode::Class spilled_class_ = unicode::Class::other;
  std::array<uint16_t, kWindow + 8> ends_;
};

}  // namespace midfill
