// Cuts text into the pieces that merges never cross.
#pragma once

#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "src/tokenizer/pattern.h"

namespace midfill {

// The end of the piece that begins at text[at], for the GPT-2 pattern
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// `text`: well-formed UTF-8; at < text.size(). The pattern leaves no gaps: its pieces, one after
// the other, are the text.
size_t gpt2_piece_end(std::string_view text, size_t at);

// One step of a pre-tokenizer; each cuts the pieces of the step before.
struct PreTokenizerStep {
  enum class Kind { byte_level, pattern, digits, punctuation };
  // What becomes of the parts that a step tells apart, matches and the gaps between them.
  enum class Behavior {
    isolated,              // each is a piece
    gaps_removed,          // so is each match; there must be no gap, as its text would be lost
    merged_with_previous,  // a match goes with the gap before it
    merged_with_next,      // or behind it
    contiguous             // neighbouring matches are one piece
  };

  Kind kind = Kind::byte_level;
  // byte_level, once: what follows reads the bytes' symbols (byte_alphabet.h)
  bool add_prefix_space = false;
  bool use_regex = true;  // the GPT-2 pattern; else the pieces stay as they are
  // The others, where a match is: of the pattern; a number (is_numeric); a mark (is_punctuation).
  Behavior behavior = Behavior::isolated;
  bool invert = false;           // matches are gaps, and gaps matches
  std::vector<Pattern> pattern;  // one
};

class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // Nothing but the GPT-2 pattern.
  bool is_plain_gpt2() const {
    return steps_.size() == 1 && steps_[0].kind == PreTokenizerStep::Kind::byte_level &&
           steps_[0].use_regex && !steps_[0].add_prefix_space;
  }

  // Calls `piece(std::string_view)` for each piece of well-formed `text`. A piece is valid only
  // during the call. Throws TextError where a pattern fails or leaves a gap that would be lost.
  template <typename Piece>
  void split(std::string_view text, Piece&& piece) const {
    if (!text.empty()) split_from(0, text, piece);
  }

 private:
  void split_from(size_t step, std::string_view text,
                  const std::function<void(std::string_view)>& piece) const;
  void split_bytes(size_t step, std::string_view text,
                   const std::function<void(std::string_view)>& piece) const;

  std::vector<PreTokenizerStep> steps_;
};

}  // namespace midfill
