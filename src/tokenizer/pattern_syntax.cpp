#include "src/tokenizer/pattern_syntax.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "kernels/common/check.h"

namespace midfill {

namespace {

// At the end of each line but an empty last one; at its begin likewise.
constexpr std::string_view kLineEnd = "(?:(?=\\n)|(?<!\\n)\\z)",
                           kLineBegin = "(?:\\A|(?<=\\n)(?!\\z))";

// \p{L}, \p{Lu}, ...: the two know the general categories by the same names.
bool is_category(std::string_view name) {
  constexpr std::array<std::string_view, 7> kKinds = {"L ultmo", "M nce", "N dlo",  "P cdseifo",
                                                      "S mcko",  "Z slp", "C cfson"};
  const auto lower = [](char c) { return static_cast<char>(std::tolower(c)); };
  if (name.empty() || name.size() > 2) return false;
  return std::ranges::any_of(kKinds, [&](std::string_view kind) {
    return name[0] == kind[0] &&
           (name.size() == 1 || kind.substr(2).find(lower(name[1])) != std::string_view::npos);
  });
}

class Translation {
 public:
  Translation(std::string_view pattern, std::string_view origin)
      : pattern_(pattern), origin_(origin) {}

  std::string run() {
    std::string out;
    while (at_ < pattern_.size()) item(out);
    return out;
  }

 private:
  std::string_view rest() const { return pattern_.substr(at_); }
  [[noreturn]] void refuse(size_t length) const {
    fail("{}: the pattern has \"{}\" at byte {}, which is not understood", origin_,
         rest().substr(0, length), at_);
  }
  void copy(size_t length, std::string& out) {
    out += rest().substr(0, length);
    at_ += length;
  }

  void item(std::string& out) {
    const char c = pattern_[at_];
    if (c == '\\') return escape(out);
    if (c == '[') {
      const Class whole = character_class();
      out += whole.as_item();
      return;
    }
    if (c == '^' || c == '$') {
      out += c == '$' ? kLineEnd : kLineBegin;
      ++at_;
      return;
    }
    if (rest().starts_with("}+") || rest().starts_with("{,")) refuse(2);
    const bool plain_group = rest().starts_with("(?:") || rest().starts_with("(?i:") ||
                             rest().starts_with("(?=") || rest().starts_with("(?!") ||
                             rest().starts_with("(?<=") || rest().starts_with("(?<!");
    if (rest().starts_with("(*") || (rest().starts_with("(?") && !plain_group)) refuse(3);
    copy(1, out);
  }

  // \s, \d, \n, \p{..}, \x{..}, or a character that is one of the syntax elsewhere.
  void escape(std::string& out) {
    const char escaped = rest().size() > 1 ? rest()[1] : '\0';
    if (escaped == 's' || escaped == 'S') {
      out += escaped == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      at_ += 2;
    } else if (escaped == 'p' || escaped == 'P' || escaped == 'x') {
      const size_t close = rest().find('}');
      if (rest().substr(2, 1) != "{" || close == std::string_view::npos) refuse(3);
      if (escaped == 'x') return copy(close + 1, out);
      std::string_view name = rest().substr(3, close - 3);
      const bool negated = name.starts_with("^");
      if (negated) name.remove_prefix(1);
      out += fmt::format("\\{}{{{}{}{}}}", escaped, negated ? "^" : "",
                         is_category(name) ? "" : "sc:", name);
      at_ += close + 1;
    } else if (escaped != '\0' &&
               (std::string_view("rntfdD").find(escaped) != std::string_view::npos ||
                std::ispunct(static_cast<unsigned char>(escaped)))) {
      copy(2, out);
    } else {
      refuse(2);
    }
  }

  // A class in PCRE2's terms: what is between the brackets, and what must be true beside it.
  struct Class {
    bool negated = false;
    std::string members;
    std::string conditions;  // lookaheads that the intersections ask for
    std::string as_item() const {
      const std::string brackets = fmt::format("[{}{}]", negated ? "^" : "", members);
      return conditions.empty() ? brackets : fmt::format("(?:{}{})", conditions, brackets);
    }
  };

  Class character_class() {
    const size_t begin = at_;
    Class whole;
    ++at_;
    if (rest().starts_with("^")) {
      whole.negated = true;
      ++at_;
    }
    if (rest().starts_with("]")) refuse(1);
    for (;;) {
      if (rest().empty()) {
        at_ = begin;
        refuse(pattern_.size() - begin);
      }
      const char c = pattern_[at_];
      if (c == ']') break;
      if (rest().starts_with("&&")) {
        // The other side is a class of its own, and the last: [a-z&&[^aeiou]].
        if (whole.negated || rest().substr(2, 1) != "[") refuse(3);
        at_ += 2;
        const Class other = character_class();
        if (!other.conditions.empty() || !rest().starts_with("]")) refuse(2);
        whole.conditions = fmt::format("(?={})", other.as_item());
        break;
      }
      if (rest().starts_with("[:") || rest().starts_with("-[")) refuse(2);
      if (c == '[') {
        const size_t inner_begin = at_;
        const Class inner = character_class();
        if (inner.negated || !inner.conditions.empty()) {
          at_ = inner_begin;
          refuse(2);
        }
        whole.members += inner.members;
      } else if (c == '\\') {
        escape(whole.members);
      } else if (c == '-' && (whole.members.empty() || rest().starts_with("-]"))) {
        whole.members += "\\-";  // itself, also where what is inside other brackets loses its own
        ++at_;
      } else if (c == '-' && pattern_[at_ - 1] == ']' && pattern_[at_ - 2] != '\\') {
        refuse(2);
      } else {
        copy(1, whole.members);
      }
    }
    ++at_;
    return whole;
  }

  std::string_view pattern_, origin_;
  size_t at_ = 0;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern, std::string_view origin) {
  return Translation(pattern, origin).run();
}

}  // namespace midfill
