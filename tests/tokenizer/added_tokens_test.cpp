#include "src/tokenizer/added_tokens.h"

#include <gtest/gtest.h>

namespace midfill {
namespace {

AddedTokenMatcher matcher(const std::vector<AddedToken>& tokens) {
  AddedTokenMatcher m;
  for (const AddedToken& token : tokens) m.add(token, token.content);
  return m;
}

// "text|[id]text|...": the parts, joined.
std::string parts_of(const AddedTokenMatcher& m, std::string_view text, bool match_special = true) {
  std::vector<AddedTokenMatcher::Part> parts;
  m.split(text, match_special, parts);
  std::string out;
  for (const auto& part : parts) {
    if (!out.empty()) out += '|';
    if (part.id >= 0) out.append("[").append(std::to_string(part.id)).append("]");
    out += part.text;
  }
  return out;
}

TEST(AddedTokens, AreMatchedLeftmostLongest) {
  const auto m = matcher({{.id = 1, .content = "<a"},
                          {.id = 2, .content = "<a>"},
                          {.id = 3, .content = "a>b"},
                          {.id = 4, .content = "  "},
                          {.id = 5, .content = "   "}});
  EXPECT_EQ(parts_of(m, "x<a>b<a"), "x|[2]<a>|b|[1]<a");
  EXPECT_EQ(parts_of(m, "a>b<"), "[3]a>b|<");
  EXPECT_EQ(parts_of(m, "    x     "), "[5]   | x|[5]   |[4]  ");
  EXPECT_EQ(parts_of(m, "nothing"), "nothing");
  EXPECT_EQ(parts_of(m, ""), "");
}

TEST(AddedTokens, SingleWordNeedsNoWordBesideIt) {
  const auto m = matcher({{.id = 1, .content = "cat", .single_word = true}});
  EXPECT_EQ(parts_of(m, "cat"), "[1]cat");
  EXPECT_EQ(parts_of(m, "a cat."), "a |[1]cat|.");
  for (const char* text : {"cats", "xcat", "_cat", "cat1", "\u00E9cat", "cat\u0301", "cat\u4E2D"})
    EXPECT_EQ(parts_of(m, text), text);
}

TEST(AddedTokens, StripTakesWhiteSpaceAlong) {
  const auto m = matcher(
      {{.id = 1, .content = "<l>", .lstrip = true}, {.id = 2, .content = "<r>", .rstrip = true}});
  EXPECT_EQ(parts_of(m, "a \n\u00A0<l> b"), "a|[1] \n\u00A0<l>| b");
  EXPECT_EQ(parts_of(m, "a <r> \t\u3000b"), "a |[2]<r> \t\u3000|b");
  // What one token has taken is not there for the next.
  EXPECT_EQ(parts_of(m, "<r>  <l>"), "[2]<r>  |[1]<l>");
}

TEST(AddedTokens, OneWhoseTextAnotherTookAlongIsNotThere) {
  const auto m = matcher(
      {{.id = 1, .content = "<m>", .rstrip = true}, {.id = 2, .content = "  ", .lstrip = true}});
  EXPECT_EQ(parts_of(m, "<m>  x"), "[1]<m>  |x");
  EXPECT_EQ(parts_of(m, "x  <m>"), "x|[2]  |[1]<m>");
}

TEST(AddedTokens, SpecialOnesCanStayText) {
  const auto m =
      matcher({{.id = 1, .content = "<|x|>", .special = true}, {.id = 2, .content = "x"}});
  EXPECT_EQ(parts_of(m, "x<|x|>x"), "[2]x|[1]<|x|>|[2]x");
  EXPECT_EQ(parts_of(m, "x<|x|>x", false), "[2]x|<|x|>|[2]x");
}

}  // namespace
}  // namespace midfill
