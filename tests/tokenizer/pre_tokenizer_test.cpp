#include "src/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>

#include "kernels/common/rng.h"
#include "src/tokenizer/tokenizer.h"
#include "src/tokenizer/unicode.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using Kind = PreTokenizerStep::Kind;
using Pieces = std::vector<std::string>;

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Pieces pieces(const PreTokenizer& pre_tokenizer, std::string_view text) {
  Pieces out;
  pre_tokenizer.split(text, [&](std::string_view piece) { out.emplace_back(piece); });
  return out;
}

Pieces gpt2(std::string_view text) {
  return pieces(PreTokenizer({PreTokenizerStep{}}), text);
}

PreTokenizerStep pattern_step(std::string_view pattern) {
  PreTokenizerStep step;
  step.kind = Kind::pattern;
  step.pattern.push_back(Pattern::regex(pattern, "test"));
  return step;
}

PreTokenizerStep whole() {
  PreTokenizerStep step;
  step.use_regex = false;
  return step;
}

TEST(Gpt2Scanner, CutsAsThePatternSays) {
  EXPECT_EQ(gpt2("Hello world's 123abc"), (Pieces{"Hello", " world", "'s", " 123", "abc"}));
  EXPECT_EQ(gpt2("I'll don't we've 'tis X'S"),
            (Pieces{"I", "'ll", " don", "'t", " we", "'ve", " '", "tis", " X", "'", "S"}));
  EXPECT_EQ(gpt2("'tis"), (Pieces{"'t", "is"}));
  EXPECT_EQ(gpt2("a  b\n\n  c \t"), (Pieces{"a", " ", " b", "\n\n ", " c", " \t"}));
  EXPECT_EQ(gpt2("x\r\ny"), (Pieces{"x", "\r", "\n", "y"}));
  EXPECT_EQ(gpt2("if(a!=b){"), (Pieces{"if", "(", "a", "!=", "b", "){"}));
  EXPECT_EQ(gpt2("\u00A0x \u2028"), (Pieces{"\u00A0", "x", " \u2028"}));
  EXPECT_EQ(gpt2(""), Pieces{});
}

// Random strings of the characters that matter, and of any characters.
std::string random_text(uint64_t sample) {
  static constexpr std::string_view kParts[] = {
      " ",      " ",      "  ",     "\n",         "\t",     "\r\n",   "'",
      "'s",     "'ll",    "'re",    "a",          "Zq",     "7",      "_",
      "!",      "<|",     "\u00A0", "\u2028",     "\u3000", "\u00E9", "e\u0301",
      "\u4E2D", "\u00BD", "\u2167", "\U0001F468", "\u200D", "\u180E", "\u0085"};
  Rng rng(1, Purpose::kTest, 0, sample);
  std::string text;
  for (uint64_t n = rng.below(40); n > 0; --n) {
    if (rng.below(4) > 0) {
      text += kParts[rng.below(std::size(kParts))];
    } else {
      const auto c = static_cast<char32_t>(rng.below(0x110000));
      if (c < 0xD800 || c >= 0xE000) unicode::append_utf8(text, c);
    }
  }
  return text;
}

TEST(Gpt2Scanner, AgreesWithPcre2) {
  const PreTokenizer oracle({pattern_step(kGpt2), whole()});
  for (uint64_t sample = 0; sample < 20000; ++sample) {
    const std::string text = random_text(sample);
    ASSERT_EQ(gpt2(text), pieces(oracle, text)) << "sample " << sample;
  }
}

TEST(Gpt2Scanner, AgreesWithPcre2OnEveryCodePoint) {
  const PreTokenizer oracle({pattern_step(kGpt2), whole()});
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string s;
    unicode::append_utf8(s, c);
    const std::string text = "a" + s + "a1" + s + "1!" + s + "! " + s;
    ASSERT_EQ(gpt2(text), pieces(oracle, text)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(PreTokenizer, AddsAPrefixSpace) {
  PreTokenizerStep step;
  step.add_prefix_space = true;
  EXPECT_EQ(pieces(PreTokenizer({step}), "ab cd"), (Pieces{" ab", " cd"}));
  EXPECT_EQ(pieces(PreTokenizer({step}), " ab"), Pieces{" ab"});
  EXPECT_EQ(pieces(PreTokenizer({step}), ""), Pieces{});
}

TEST(PreTokenizer, CutsDigits) {
  PreTokenizerStep digits;
  digits.kind = Kind::digits;
  digits.behavior = PreTokenizerStep::Behavior::contiguous;
  EXPECT_EQ(pieces(PreTokenizer({digits, whole()}), "a 12b\u00BD"),
            (Pieces{"a ", "12", "b", "\u00BD"}));
  digits.behavior = PreTokenizerStep::Behavior::isolated;
  EXPECT_EQ(pieces(PreTokenizer({digits, PreTokenizerStep{}}), "a 12b"),
            (Pieces{"a", " ", "1", "2", "b"}));
}

TEST(PreTokenizer, KeepsTheGapsOfAPattern) {
  EXPECT_EQ(pieces(PreTokenizer({pattern_step("[0-9]{1,3}"), whole()}), "ab12345c"),
            (Pieces{"ab", "123", "45", "c"}));
  PreTokenizerStep literal;
  literal.kind = Kind::pattern;
  literal.pattern.push_back(Pattern::literal("a.", "test"));
  EXPECT_EQ(pieces(PreTokenizer({literal, whole()}), "xa.ab"), (Pieces{"x", "a.", "ab"}));
}

PreTokenizerStep joined(std::string_view pattern, PreTokenizerStep::Behavior behavior,
                        bool invert = false) {
  PreTokenizerStep step = pattern_step(pattern);
  step.behavior = behavior;
  step.invert = invert;
  return step;
}

// The documentation of Hugging Face's SplitDelimiterBehavior has this example.
TEST(PreTokenizer, JoinsMatchesAndGaps) {
  using Behavior = PreTokenizerStep::Behavior;
  const auto cut = [](Behavior behavior, bool invert = false) {
    return pieces(PreTokenizer({joined("-", behavior, invert), whole()}), "the-final--countdown");
  };
  EXPECT_EQ(cut(Behavior::isolated), (Pieces{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(cut(Behavior::merged_with_previous), (Pieces{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(cut(Behavior::merged_with_next), (Pieces{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(cut(Behavior::contiguous), (Pieces{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(cut(Behavior::merged_with_previous, true),
            (Pieces{"the", "-final", "-", "-countdown"}));
}

TEST(PreTokenizer, LosesNoText) {
  const PreTokenizer pre(
      {joined(R"(\p{L}+|\s+(?!\S))", PreTokenizerStep::Behavior::gaps_removed), whole()});
  EXPECT_EQ(pieces(pre, "ab  "), (Pieces{"ab", "  "}));
  EXPECT_THAT(error_of([&] { pieces(pre, "ab  c"); }),
              HasSubstr("leaves out \" \", which would be"));
  EXPECT_THROW(pieces(pre, "ab  c"), TextError);
}

// Falcon's: digits of the text and of the symbols that stand for its other bytes ("\u00B2" is byte
// B2).
TEST(PreTokenizer, CutsTheSymbolsOfBytes) {
  PreTokenizerStep digits;
  digits.kind = Kind::digits;
  digits.behavior = PreTokenizerStep::Behavior::contiguous;
  EXPECT_EQ(pieces(PreTokenizer({whole(), digits, pattern_step("[0-9]{3}")}), "a12345\xC3\xB2z"),
            (Pieces{"a", "123", "45", "\xC3", "\xB2", "z"}));
}

TEST(PreTokenizer, CutsPunctuation) {
  PreTokenizerStep marks;
  marks.kind = Kind::punctuation;
  EXPECT_EQ(pieces(PreTokenizer({marks, whole()}), "a+(b)\u3002$"),
            (Pieces{"a", "+", "(", "b", ")", "\u3002", "$"}));
  marks.behavior = PreTokenizerStep::Behavior::contiguous;
  EXPECT_EQ(pieces(PreTokenizer({marks, whole()}), "a+(b)\u00A9"),
            (Pieces{"a", "+(", "b", ")", "\u00A9"}));
}

}  // namespace
}  // namespace midfill
