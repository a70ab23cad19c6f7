// Where pieces of the pre-tokenizer end, told from two neighbouring tokens alone.
//
// The GPT-2 pattern looks at most one character ahead and never back, so between some pairs of
// characters a piece ends in every text that has them side by side, whatever stands around:
//   - no white space before the boundary, and
//   - another class (letter, number, white space, other) behind it, and
//   - not an apostrophe before a letter, which may be a contraction ("'s").
// The pieces before such a boundary depend on nothing behind it, and those behind it on nothing
// before it; so of a text that changes between two of them only what is between them needs to be
// encoded again. Added tokens do not disturb this where they consist of white space alone: none
// reaches across a boundary that has no white space before it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

class PieceBoundaries {
 public:
  // The tokenizer must outlive this. One that has another pattern or other added tokens has no sure
  // boundaries: at() is then never true.
  explicit PieceBoundaries(const Tokenizer& tokenizer);

  // Whether a piece surely ends between tokens[i - 1] and tokens[i]; 0 < i < tokens.size(). The ids
  // are the tokenizer's.
  bool at(std::span<const TokenId> tokens, size_t i) const {
    const uint8_t before = edges_[static_cast<size_t>(tokens[i - 1])] & 7;
    const uint8_t behind = edges_[static_cast<size_t>(tokens[i])] >> 3;
    const Verdict verdict = kVerdicts[before][behind];
    return verdict == Verdict::yes ||
           (verdict == Verdict::look_closer && at_split_character(tokens, i));
  }

 private:
  // What stands at an edge of a token. `split`: part of a character, the rest of which another
  // token has; `none`: what is never beside a boundary.
  enum Edge : uint8_t { none, letter, number, space, other, apostrophe, split };
  enum class Verdict : uint8_t { no, yes, look_closer };
  using Verdicts = std::array<std::array<Verdict, 8>, 8>;

  static constexpr Verdict verdict(Edge before, Edge behind) {
    if (before == none || behind == none) return Verdict::no;
    if (before == split || behind == split) return Verdict::look_closer;
    if (before == space || (before == apostrophe && behind == letter)) return Verdict::no;
    const auto is_other = [](Edge edge) { return edge == other || edge == apostrophe; };
    return before == behind || (is_other(before) && is_other(behind)) ? Verdict::no : Verdict::yes;
  }
  static constexpr Verdicts all_verdicts() {
    Verdicts all{};
    for (uint8_t before = none; before <= split; ++before)
      for (uint8_t behind = none; behind <= split; ++behind)
        all[before][behind] = verdict(Edge{before}, Edge{behind});
    return all;
  }
  static const Verdicts kVerdicts;

  static Edge edge_of(char32_t c);
  bool at_split_character(std::span<const TokenId> tokens, size_t i) const;

  const Tokenizer& tokenizer_;
  std::vector<uint8_t> edges_;  // by id: the first character's Edge times 8, plus the last's
};

inline constexpr PieceBoundaries::Verdicts PieceBoundaries::kVerdicts =
    PieceBoundaries::all_verdicts();

}  // namespace midfill
