// Cuts text into the pieces that merges never cross.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace midfill {

// The end of the piece that begins at text[at], for the GPT-2 pattern
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// `text`: well-formed UTF-8; at < text.size(). The pattern leaves no gaps: its pieces, one after
// the other, are the text.
size_t gpt2_piece_end(std::string_view text, size_t at);

// A pattern of the kind that tokenizer files hold, run by PCRE2's JIT.
class Pattern {
 public:
  // `origin` names the place in errors. Refuses constructs that Hugging Face's engine (Oniguruma)
  // reads in another way than PCRE2, and patterns that match the empty string.
  static Pattern regex(std::string_view pattern, std::string_view origin);
  static Pattern literal(std::string_view text, std::string_view origin);

  // Calls `piece` for each match and each gap between matches, in order.
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static Pattern compile(std::string_view pattern, bool literal, std::string_view origin);
  std::shared_ptr<const Code> code_;
};

// One step of a pre-tokenizer; each cuts the pieces of the step before.
struct PreTokenizerStep {
  enum class Kind { byte_level, pattern, digits };
  Kind kind = Kind::byte_level;
  // byte_level, always the last step
  bool add_prefix_space = false;
  bool use_regex = true;  // the GPT-2 pattern; else the pieces stay as they are
  // pattern: matches and gaps are pieces
  std::vector<Pattern> pattern;  // one
  // digits: runs of \p{N} are pieces, or each digit is
  bool individual_digits = false;
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
  // during the call.
  template <typename Piece>
  void split(std::string_view text, Piece&& piece) const {
    if (!text.empty()) split_from(0, text, piece);
  }

 private:
  void split_from(size_t step, std::string_view text,
                  const std::function<void(std::string_view)>& piece) const;

  std::vector<PreTokenizerStep> steps_;
};

}  // namespace midfill
