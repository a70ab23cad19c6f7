#include "src/tokenizer/piece_boundaries.h"

#include <string>
#include <vector>

#include "kernels/common/rng.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/pre_tokenizer.h"
#include "src/tokenizer/unicode.h"
#include "tests/support/test_support.h"
#include "tests/support/tokenizer_json.h"

namespace midfill {
namespace {

// A tokenizer without merges: each byte is a token, and its id.
Tokenizer byte_tokenizer(const Json& added = Json::array(), bool add_prefix_space = false) {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[byte_alphabet::symbols()[static_cast<size_t>(byte)]] = byte;
  Json file = test::byte_level_tokenizer(vocabulary, Json::array(), added);
  file["pre_tokenizer"]["add_prefix_space"] = add_prefix_space;
  return Tokenizer::from_json(file.dump(), "test");
}

std::vector<TokenId> bytes_of(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

// The boundaries of a text shown as bars.
std::string bars(const PieceBoundaries& boundaries, std::string_view text) {
  const std::vector<TokenId> ids = bytes_of(text);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && boundaries.at(ids, i)) out += '|';
    out += text[i];
  }
  return out;
}

TEST(PieceBoundaries, AreWhereTheClassChangesBehindWhatIsNoWhiteSpace) {
  const Tokenizer tokenizer = byte_tokenizer();
  const PieceBoundaries boundaries(tokenizer);
  EXPECT_EQ(bars(boundaries, "if (x1 != 23):\n\treturn"), "if| (|x|1| !=| 23|):|\n\treturn");
  EXPECT_EQ(bars(boundaries, "don't 's '7 a''b"), "don|'t| 's| '|7| a|''b");
  EXPECT_EQ(bars(boundaries, "  \n x  "), "  \n x|  ");
  EXPECT_EQ(bars(boundaries, "\u4e2d\u6587\u3002\u597d\u00bd\u3000\u00e9"),
            "\u4e2d\u6587|\u3002|\u597d|\u00bd|\u3000\u00e9");
}

TEST(PieceBoundaries, NeverTouchWhatIsNoCharacter) {
  const Tokenizer tokenizer = byte_tokenizer();
  const PieceBoundaries boundaries(tokenizer);
  for (const std::string_view text : {"\xE4\xB8 a", "a\xE4\xB8", "a\x80 ", "\xC0\x80 ", "a\xFF ",
                                      "\x80\x80\x80\x80\x80 ", "a\xED\xA0\x80"})
    for (size_t i = 1; i < text.size(); ++i) {
      const bool beside_ascii =
          static_cast<signed char>(text[i - 1]) >= 0 && static_cast<signed char>(text[i]) >= 0;
      EXPECT_FALSE(!beside_ascii && boundaries.at(bytes_of(text), i)) << text << " at " << i;
    }
}

std::string random_text(Rng& rng) {
  static constexpr std::string_view kParts[] = {
      " ",      "  ", "\n",     "\t",     "\r\n",   "'",      "'s",
      "'ll",    "''", "a",      "Zq",     "7",      "42",     "_",
      "!",      "<|", "\u00A0", "\u2028", "\u3000", "\u00E9", "e\u0301",
      "\u4E2D", "(x", "),",     "\u3002", "\u00BD", "\u2167", "\U0001F468"};
  std::string text;
  for (uint64_t n = 1 + rng.below(12); n > 0; --n) text += kParts[rng.below(std::size(kParts))];
  return text;
}

// What "sure" means: the scanner ends a piece there wherever the text begins before it and wherever
// it ends behind it.
TEST(PieceBoundaries, HoldWhateverStandsAround) {
  const Tokenizer tokenizer = byte_tokenizer();
  const PieceBoundaries boundaries(tokenizer);
  const auto starts_character = [](std::string_view text, size_t at) {
    return at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
  };
  int sure = 0, ends = 0;
  for (uint64_t sample = 0; sample < 4000; ++sample) {
    Rng rng(5, Purpose::kTest, 0, sample);
    const std::string text = random_text(rng);
    const std::vector<TokenId> ids = bytes_of(text);
    for (size_t at = 0; at < text.size(); at = gpt2_piece_end(text, at)) ++ends;
    for (size_t i = 1; i < text.size(); ++i) {
      if (!boundaries.at(ids, i)) continue;
      ++sure;
      ASSERT_TRUE(starts_character(text, i));
      for (size_t begin = 0; begin < i; ++begin) {
        if (!starts_character(text, begin)) continue;
        for (size_t end = i; end <= text.size(); ++end) {
          if (!starts_character(text, end)) continue;
          const std::string_view part(text.data() + begin, end - begin);
          size_t at = 0;
          while (at < i - begin) at = gpt2_piece_end(part, at);
          ASSERT_EQ(at, i - begin) << text << ", from " << begin << " to " << end;
        }
      }
    }
  }
  EXPECT_GT(sure, ends / 2) << "of " << ends << " ends of pieces";
}

TEST(PieceBoundaries, AreNowhereWithOtherPatternsOrTokens) {
  const auto has_any = [](const Tokenizer& tokenizer) {
    const PieceBoundaries boundaries(tokenizer);
    const bool any = bars(boundaries, "a (b) 7").find('|') != std::string::npos;
    EXPECT_EQ(any, tokenizer.has_local_pieces());
    return any;
  };
  const auto added = [](const std::string& content, bool special) {
    return Json::array({test::added_token(256, content, special)});
  };
  EXPECT_TRUE(has_any(byte_tokenizer()));
  EXPECT_TRUE(has_any(byte_tokenizer(added("   ", false))));
  EXPECT_TRUE(has_any(byte_tokenizer(added("\n\n", false))));
  EXPECT_TRUE(has_any(byte_tokenizer(added("<|endoftext|>", true))));
  EXPECT_FALSE(has_any(byte_tokenizer(added("word", false))));
  EXPECT_FALSE(has_any(byte_tokenizer(added("< >", true))));
  EXPECT_FALSE(has_any(byte_tokenizer(Json::array(), true)));
  Json stripping = test::added_token(256, "  ", false);
  stripping["lstrip"] = true;
  EXPECT_FALSE(has_any(byte_tokenizer(Json::array({stripping}))));
}

}  // namespace
}  // namespace midfill
