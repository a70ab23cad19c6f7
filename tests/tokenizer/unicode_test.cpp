#include "src/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace midfill::unicode {
namespace {

TEST(Utf8, ReplacesEachMaximalIllFormedPart) {
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"abc", "abc"},
      {"a\x80z", "a" + r + "z"},
      {"\xC0\xAF", r + r},                  // overlong
      {"\xE0\x80\xAF", r + r + r},          // overlong
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},  // past U+10FFFF
      {"\xF5\xFF", r + r},                  // never in UTF-8
      {"\xE2\x82", r},                      // cut off at the end
      {"\xE2\x82z", r + "z"},               // cut off before another
      {"\xF0\x9F\x91\xF0\x9F\x91\xA8", r + "\xF0\x9F\x91\xA8"},
      {"\xE4\xB8\xAD", "\xE4\xB8\xAD"},
      {std::string("\0\xFF", 2), std::string("\0", 1) + r},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(replace_invalid_utf8(bytes), expected);
    EXPECT_EQ(is_valid_utf8(bytes), bytes == expected);
  }
}

TEST(Utf8, GoesForthAndBack) {
  for (char32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 77) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "x";
    append_utf8(text, c);
    size_t at = 1;
    ASSERT_EQ(next(text, at), c);
    ASSERT_EQ(at, text.size());
    ASSERT_EQ(previous(text, at), 1u);
    ASSERT_TRUE(is_valid_utf8(text));
  }
}

TEST(Classes, AreTheReferences) {
  EXPECT_EQ(class_of(U'a'), Class::letter);
  EXPECT_EQ(class_of(U'中'), Class::letter);
  EXPECT_EQ(class_of(U'ª'), Class::letter);
  EXPECT_EQ(class_of(U'7'), Class::number);
  EXPECT_EQ(class_of(U'½'), Class::number);
  EXPECT_EQ(class_of(U'Ⅷ'), Class::number);
  EXPECT_EQ(class_of(U'_'), Class::other);
  EXPECT_EQ(class_of(0x0301), Class::other);
  EXPECT_EQ(class_of(0x1F468), Class::other);
  for (const char32_t c : {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A,
                           0x2028, 0x2029, 0x202F, 0x205F, 0x3000})
    EXPECT_EQ(class_of(c), Class::space) << static_cast<uint32_t>(c);
  for (const char32_t c : {0x1C, 0x1F, 0x180E, 0x200B, 0xFEFF, 0x2060})
    EXPECT_EQ(class_of(c), Class::other) << static_cast<uint32_t>(c);
  // Letters and numbers that Unicode 15 and 15.1 added.
  for (const char32_t c : {0x11F02, 0x1E030, 0x1D2C0, 0x2EBF0, 0x31350, 0x323AF})
    EXPECT_EQ(class_of(c), Class::other) << static_cast<uint32_t>(c);
}

std::string normal(std::string_view text) {
  std::string buffer;
  return std::string(nfc(text, buffer));
}

TEST(Nfc, ComposesDecomposesAndReorders) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"plain ASCII", "plain ASCII"},
      {"e\u0301", "\u00E9"},
      {"xe\u0301y e\u0301", "x\u00E9y \u00E9"},
      {"\u0301e", "\u0301e"},              // nothing before it to compose with
      {"\u212B \u2126", "\u00C5 \u03A9"},  // singletons
      {"a\u0301\u0316", "\u00E1\u0316"},   // the lower mark does not block the upper
      {"q\u0307\u0323", "q\u0323\u0307"},  // reordered by class
      {"\u1112\u1161\u11AB", "\uD55C"},    // Hangul, three parts
      {"\uD558\u11AB", "\uD55C"},          // and a syllable with a final consonant
      {"\u0958", "\u0915\u093C"},          // excluded from composition
      {"\u0344", "\u0308\u0301"},
      {"\u1E9B\u0323", "\u1E9B\u0323"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(normal(text), expected) << text;
    EXPECT_EQ(normal(expected), expected) << text;
  }
}

TEST(Nfc, ReturnsTheTextItselfWhereNothingChanges) {
  const std::string text = "na\u00EFve \u4E2D\u6587 q\u0323\u0307 \U0001F468\u200D\U0001F469";
  std::string buffer;
  EXPECT_EQ(nfc(text, buffer), text);
}

TEST(Nfc, SortsAMillionMarksInNoTime) {
  std::string text = "a", expected = "\u00E1";
  for (int i = 0; i < 500000; ++i) text += "\u0301\u0316";  // classes 230 and 220, in turn
  for (int i = 0; i < 500000; ++i) expected += "\u0316";
  for (int i = 1; i < 500000; ++i) expected += "\u0301";
  EXPECT_TRUE(normal(text) == expected);
}

}  // namespace
}  // namespace midfill::unicode
