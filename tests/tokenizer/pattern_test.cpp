#include "src/tokenizer/pattern.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "src/tokenizer/tokenizer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Matches in [brackets].
std::string marked(std::string_view pattern, std::string_view text) {
  std::string out;
  Pattern::regex(pattern, "here").split(text, [&](std::string_view part, bool is_match) {
    out += is_match ? "[" + std::string(part) + "]" : std::string(part);
  });
  return out;
}

TEST(Pattern, TellsMatchesFromGaps) {
  EXPECT_EQ(marked("[0-9]{1,3}", "ab12345c"), "ab[123][45]c");
  EXPECT_EQ(marked("x", "abc"), "abc");
  EXPECT_EQ(marked("x", ""), "");
}

// `tokenizer.published` holds these against Oniguruma.
TEST(Pattern, ReadsWhatOnigurumaReads) {
  EXPECT_EQ(marked("[^(a|[b,c])]+", "x(y|z,b)a"), "[x]([y]|[z],b)a");
  EXPECT_EQ(marked("[a-z&&[^aeiou]]+", "hello"), "[h]e[ll]o");
  EXPECT_EQ(marked("[a-f&&[d-z]]+", "abcdefg"), "abc[def]g");
  EXPECT_EQ(marked("[a[-b]c-]+", "a-bcd"), "[a-bc]d");
  EXPECT_EQ(marked(" +$", "a  \nb "), "a[  ]\nb[ ]");
  EXPECT_EQ(marked("\\s+$", "a \n"), "a[ ]\n") << "not behind a newline that ends the text";
  EXPECT_EQ(marked("^ +", "  a\n  b"), "[  ]a\n[  ]b");
  EXPECT_EQ(marked("\\s", "\u00A0\u180E\u0085"), "[\u00A0]\u180E[\u0085]");
  EXPECT_EQ(marked("\\p{Han}", "\u4E2D\u3001"), "[\u4E2D]\u3001") << "the script alone";
  EXPECT_EQ(marked("\\p{^Lu}+", "aBc"), "[a]B[c]");
  EXPECT_EQ(marked("\\x{4E2D}", "\u4E2D"), "[\u4E2D]");
}

TEST(Pattern, RefusesWhatTheEnginesReadDifferently) {
  for (const char* pattern : {"\\bword", "\\w+", "\\h", "[a&&b]", "[^a&&[b]]", "[a[^b]]",
                              "[[:alpha:]]", "[x[:alpha:]]", "[a-[b]]", "[[a]-z]", "[]a]", "[a",
                              "(?<n>a)", "(*UCP)a", "a{1,2}+", "a{,2}", "a\\", "\\pL", "\\x41"})
    EXPECT_THAT(error_of([&] { Pattern::regex(pattern, "here"); }),
                HasSubstr("here: the pattern has"))
        << pattern;
  EXPECT_THAT(error_of([] { Pattern::regex("(a", "here"); }), HasSubstr("cannot be compiled"));
  EXPECT_THAT(error_of([] { Pattern::regex("\\p{Alpha}", "here"); }),
              HasSubstr("cannot be compiled"));
  EXPECT_THAT(error_of([] { Pattern::regex("a*", "here"); }),
              HasSubstr("matches the empty string"));
  EXPECT_THAT(error_of([] { Pattern::regex("", "here"); }), HasSubstr("is empty"));
}

TEST(Pattern, NamesTheTextThatItFailsOn) {
  const Pattern pattern = Pattern::regex("(?:a+)+b|[\\s\\S]", "t.json: here");
  const auto split = [&](const std::string& text) {
    int parts = 0;
    pattern.split(text, [&](std::string_view, bool) { ++parts; });
    return parts;
  };
  EXPECT_EQ(split("xaab"), 2);
  EXPECT_THROW(split("x" + std::string(40, 'a')), TextError);
  EXPECT_THAT(error_of([&] { split("x" + std::string(40, 'a')); }),
              AllOf(HasSubstr("t.json: here: the pattern fails on this text, from byte 1 of 41 on"),
                    HasSubstr("match limit")));
  EXPECT_EQ(split("aab"), 1) << "the next text is as good as ever";
}

// Steps and memory in proportion to the text are not too many.
TEST(Pattern, ReachesOverMegabytes) {
  const std::string words = [] {
    std::string text;
    while (text.size() < 7'000'000) text += "abc de ";
    return text;
  }();
  for (const char* pattern : {"(?:\\p{L}+ ?)+", "(?:\\p{L}\\p{M}*| )+", "(?:[a-z]| )+"}) {
    int parts = 0;
    Pattern::regex(pattern, "here").split(words, [&](std::string_view, bool) { ++parts; });
    EXPECT_EQ(parts, 1) << pattern;
  }
}

}  // namespace
}  // namespace midfill
