#include "src/tokenizer/piece_boundaries.h"

#include <algorithm>
#include <string_view>

#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

using unicode::character_length;
using unicode::continues_character;
using unicode::kLongestCharacter;

// Where the last character of `text`, which is not empty, begins; its size where none does in the
// last four bytes.
size_t last_character(std::string_view text) {
  for (size_t back = 1; back <= std::min(text.size(), kLongestCharacter); ++back)
    if (!continues_character(text[text.size() - back])) return text.size() - back;
  return text.size();
}

}  // namespace

PieceBoundaries::Edge PieceBoundaries::edge_of(char32_t c) {
  switch (unicode::class_of(c)) {
    case unicode::Class::letter:
      return letter;
    case unicode::Class::number:
      return number;
    case unicode::Class::space:
      return space;
    case unicode::Class::other:
      break;
  }
  return c == U'\'' ? apostrophe : other;
}

PieceBoundaries::PieceBoundaries(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), edges_(static_cast<size_t>(tokenizer.vocab_size())) {
  if (!tokenizer.has_local_pieces()) return;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.bytes_of(id);
    if (bytes.empty() || tokenizer.is_special(id)) continue;
    Edge first = none, last = none;
    size_t at = 0;
    if (!continues_character(bytes[0])) {
      const std::string_view c = bytes.substr(0, character_length(bytes[0]));
      first = c.size() < character_length(bytes[0]) ? split
              : unicode::is_valid_utf8(c)           ? edge_of(unicode::next(c, at))
                                                    : none;
    }
    const std::string_view c = bytes.substr(last_character(bytes));
    if (c.empty()) {
      last = split;  // it began in the token before
    } else if (unicode::is_valid_utf8(c)) {
      at = 0;
      last = edge_of(unicode::next(c, at));
    }
    edges_[static_cast<size_t>(id)] = static_cast<uint8_t>(first << 3 | last);
  }
}

// The same question where a character before or behind is spread over several tokens.
bool PieceBoundaries::at_split_character(std::span<const TokenId> tokens, size_t i) const {
  char before[kLongestCharacter], behind[kLongestCharacter];
  size_t n = 0;
  for (size_t t = i; t > 0 && n < kLongestCharacter; --t) {
    const std::string_view bytes = tokenizer_.bytes_of(tokens[t - 1]);
    for (size_t b = bytes.size(); b > 0 && n < kLongestCharacter; --b)
      before[kLongestCharacter - ++n] = bytes[b - 1];
  }
  std::string_view last(before + kLongestCharacter - n, n);
  if (n > 0) last.remove_prefix(last_character(last));
  size_t m = 0;
  for (size_t t = i; t < tokens.size() && m < kLongestCharacter; ++t)
    for (const char byte : tokenizer_.bytes_of(tokens[t]))
      if (m < kLongestCharacter) behind[m++] = byte;
  const std::string_view first =
      m == 0 ? std::string_view()
             : std::string_view(behind, m).substr(0, character_length(behind[0]));
  if (last.empty() || first.empty() || !unicode::is_valid_utf8(last) ||
      !unicode::is_valid_utf8(first))
    return false;
  size_t a = 0, b = 0;
  return verdict(edge_of(unicode::next(last, a)), edge_of(unicode::next(first, b))) == Verdict::yes;
}

}  // namespace midfill
