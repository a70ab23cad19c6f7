// What the tokenizer needs of Unicode: UTF-8, the classes of the pre-tokenizers, NFC and NFKC.
// Source: utf8proc, held to the Unicode 14 classes of the reference (docs/tokenizer.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace midfill::unicode {

enum class Class : uint8_t { other, letter, number, space };  // neither, \p{L}, \p{N}, \s

// The class of a code point.
Class class_of(char32_t c);
// Letters, marks, decimal digits, connectors: the `\w` that `single_word` of added tokens asks.
bool is_word(char32_t c);
// Numbers as the `Digits` pre-tokenizer knows them: with those of Unicode 15, which the patterns do
// not know.
bool is_numeric(char32_t c);

// Marks of punctuation as the `Punctuation` pre-tokenizer knows them.
bool is_punctuation(char32_t c);

constexpr size_t kLongestCharacter = 4;  // bytes of UTF-8

// Whether a byte is not the first of its character.
inline bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}
// The bytes that a character has by its first one.
inline size_t character_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
}

// The code point at text[at] of well-formed UTF-8; moves `at` past it.
inline char32_t next(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const char32_t first = byte(at);
  if (first < 0x80) return ++at, first;
  const auto tail = [&](size_t i) { return static_cast<char32_t>(byte(at + i) & 0x3F); };
  char32_t c;
  if (first < 0xE0) {
    c = (first & 0x1F) << 6 | tail(1);
    at += 2;
  } else if (first < 0xF0) {
    c = (first & 0x0F) << 12 | tail(1) << 6 | tail(2);
    at += 3;
  } else {
    c = (first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
    at += 4;
  }
  return c;
}

// Where the code point before text[at] begins; at > 0.
inline size_t previous(std::string_view text, size_t at) {
  do --at;
  while (at > 0 && continues_character(text[at]));
  return at;
}

void append_utf8(std::string& out, char32_t c);

bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view text);
// Each maximal ill-formed part (Unicode, section 3.9) becomes one U+FFFD, as Python's
// errors="replace" does.
std::string replace_invalid_utf8(std::string_view text);

enum class Form : uint8_t { none, nfc, nfkc };

// The normalisation form of well-formed UTF-8. Returns `text` itself where it is in that form
// already, else a view of `buffer`. Linear in the text but for the sorting of runs of marks.
std::string_view normalize(std::string_view text, Form form, std::string& buffer);
inline std::string_view nfc(std::string_view text, std::string& buffer) {
  return normalize(text, Form::nfc, buffer);
}

}  // namespace midfill::unicode
