#include "src/tokenizer/pre_tokenizer.h"

#include <array>
#include <string>

#include "kernels/common/check.h"
#include "src/io/one_line.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/tokenizer.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

using unicode::Class;

constexpr std::array<Class, 128> make_ascii_classes() {
  std::array<Class, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool number = c >= '0' && c <= '9';
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    classes[c] = letter   ? Class::letter
                 : number ? Class::number
                 : space  ? Class::space
                          : Class::other;
  }
  return classes;
}

constexpr std::array<Class, 128> kAscii = make_ascii_classes();

// The class of the code point at text[at]; moves `at` past it.
Class next_class(std::string_view text, size_t& at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return ++at, kAscii[byte];
  return unicode::class_of(unicode::next(text, at));
}

// The end of the run of `wanted` that goes on at text[at].
size_t run_end(std::string_view text, size_t at, Class wanted) {
  while (at < text.size()) {
    size_t after = at;
    if (next_class(text, after) != wanted) break;
    at = after;
  }
  return at;
}

// The length of the contraction that begins with the apostrophe at text[at], or 0.
size_t contraction(std::string_view text, size_t at) {
  const auto letter = [&](size_t i) { return at + i < text.size() ? text[at + i] : '\0'; };
  const char a = letter(1), b = letter(2);
  if (a == 's' || a == 't') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e')) return 3;
  if (a == 'm') return 2;
  if (a == 'l' && b == 'l') return 3;
  return a == 'd' ? 2 : 0;
}

}  // namespace

size_t gpt2_piece_end(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    if (const size_t length = contraction(text, at)) return at + length;
  }
  const size_t begin = at;
  Class c = next_class(text, at);
  if (text[begin] == ' ' && at < text.size()) {
    size_t after = at;
    const Class following = next_class(text, after);
    if (following != Class::space) {  // " ?" takes the space
      c = following;
      at = after;
    }
  }
  const size_t end = run_end(text, at, c);
  if (c != Class::space || end == text.size()) return end;
  // White space before something else leaves its last character to what follows.
  const size_t last = unicode::previous(text, end);
  return last > begin ? last : end;
}

namespace {

using Behavior = PreTokenizerStep::Behavior;
using Kind = PreTokenizerStep::Kind;
using Piece = std::function<void(std::string_view)>;

// Puts the parts of a text, which come in order, together to pieces.
class Joiner {
 public:
  Joiner(const PreTokenizerStep& step, const Piece& piece) : step_(step), piece_(piece) {}

  void add(std::string_view part, bool is_match) {
    is_match = is_match != step_.invert;
    if (joined_.empty() || !joins(is_match)) {
      finish();
      joined_ = part;
    } else {
      joined_ = {joined_.data(), joined_.size() + part.size()};
    }
    last_is_match_ = is_match;
  }
  void finish() {
    if (!joined_.empty()) piece_(std::exchange(joined_, {}));
  }

 private:
  bool joins(bool is_match) const {
    switch (step_.behavior) {
      case Behavior::merged_with_previous:
        return is_match && !last_is_match_;
      case Behavior::merged_with_next:
        return !is_match && last_is_match_;
      case Behavior::contiguous:
        return is_match == last_is_match_;
      case Behavior::isolated:
      case Behavior::gaps_removed:
        return false;
    }
    return false;
  }

  const PreTokenizerStep& step_;
  const Piece& piece_;
  std::string_view joined_;  // of the text
  bool last_is_match_ = false;
};

template <typename IsMatch, typename Part>
void split_characters(std::string_view text, IsMatch&& is_match, Part&& part) {
  for (size_t at = 0, gap = 0; at < text.size();) {
    const size_t begin = at;
    if (!is_match(unicode::next(text, at))) {
      if (at == text.size()) part(text.substr(gap), false);
      continue;
    }
    if (gap < begin) part(text.substr(gap, begin - gap), false);
    part(text.substr(begin, at - begin), true);
    gap = at;
  }
}

template <typename Part>
void split_parts(const PreTokenizerStep& step, std::string_view text, Part&& part) {
  const auto is_digit = [](char32_t c) {
    return c < 0x80 ? c >= '0' && c <= '9' : unicode::is_numeric(c);
  };
  if (step.kind == Kind::digits) return split_characters(text, is_digit, part);
  if (step.kind == Kind::punctuation) return split_characters(text, unicode::is_punctuation, part);
  step.pattern.at(0).split(text, part);
}

}  // namespace

void PreTokenizer::split_from(size_t index, std::string_view text, const Piece& piece) const {
  if (index == steps_.size()) return piece(text);
  const PreTokenizerStep& step = steps_[index];
  if (step.kind == Kind::byte_level) return split_bytes(index, text, piece);
  const Piece cut = [&](std::string_view part) { split_from(index + 1, part, piece); };
  if (step.behavior == Behavior::isolated || step.behavior == Behavior::gaps_removed) {
    split_parts(step, text, [&](std::string_view part, bool is_match) {
      if (step.behavior == Behavior::gaps_removed && !is_match)
        throw TextError(fmt::format("the tokenizer's pattern leaves out {}, which would be lost",
                                    in_quotes(part)));
      cut(part);
    });
    return;
  }
  Joiner joiner(step, cut);
  split_parts(step, text,
              [&](std::string_view part, bool is_match) { joiner.add(part, is_match); });
  joiner.finish();
}

void PreTokenizer::split_bytes(size_t index, std::string_view text, const Piece& piece) const {
  const PreTokenizerStep& step = steps_[index];
  std::string prefixed;
  if (step.add_prefix_space && text[0] != ' ') {
    prefixed = fmt::format(" {}", text);
    text = prefixed;
  }
  const Piece bytes_of = [&](std::string_view symbols) {
    piece(byte_alphabet::to_bytes(symbols).value());
  };
  const auto cut = [&](std::string_view part) {
    if (index + 1 == steps_.size()) return piece(part);
    split_from(index + 1, byte_alphabet::from_bytes(part), bytes_of);
  };
  if (!step.use_regex) return cut(text);
  for (size_t at = 0; at < text.size();) {
    const size_t end = gpt2_piece_end(text, at);
    cut(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace midfill
