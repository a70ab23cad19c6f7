// A pattern of the kind that tokenizer files hold, run by PCRE2's JIT.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

namespace midfill {

class Pattern {
 public:
  // `origin` names the place in errors. `pattern` is in the syntax of Hugging Face's engine
  // (pattern_syntax.h); one that matches the empty string is refused.
  static Pattern regex(std::string_view pattern, std::string_view origin);
  static Pattern literal(std::string_view text, std::string_view origin);

  // Calls `part` for each match and each gap between matches, in order; together they are the text,
  // and none is empty. Throws TextError where the pattern takes too many steps or too much memory
  // for this text.
  using Part = std::function<void(std::string_view text, bool is_match)>;
  void split(std::string_view text, const Part& part) const;

  // A character that the pattern leaves in a gap where it stands alone, of those below U+3000;
  // U+0000 where there is none.
  char32_t unmatched_character() const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static Pattern compile(std::string_view pattern, bool literal, std::string_view origin);
  std::shared_ptr<const Code> code_;
};

}  // namespace midfill
