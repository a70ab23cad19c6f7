#include "src/infer/infill.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/data/data_test_support.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::byte_token;
using test::error_of;
using test::small_tokenizer;
using Ids = std::vector<TokenId>;

// The small tokenizer's ids of single bytes.
Ids bytes(std::string_view text) {
  Ids ids;
  for (char c : text) ids.push_back(byte_token(c));
  return ids;
}

Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

struct InfillPromptTest : testing::Test {
  const Sentinels& s = small_tokenizer().sentinels();
  InfillPrompt prompt(SegmentKind mode, int64_t max_tokens = 100, bool document_start = false,
                      std::string_view prefix = "xyz", std::string_view suffix = "XY") {
    return infill_prompt(small_tokenizer(), prefix, suffix, max_tokens,
                         {.mode = mode, .document_start = document_start});
  }
};

TEST_F(InfillPromptTest, LayoutsAreThoseOfTraining) {
  EXPECT_EQ(prompt(SegmentKind::psm).tokens,
            joined({{s.pre}, bytes("xyz"), {s.suf}, bytes("XY"), {s.mid}}));
  EXPECT_EQ(prompt(SegmentKind::spm1).tokens,
            joined({{s.suf}, bytes("XY"), {s.pre}, bytes("xyz"), {s.mid}}));
  EXPECT_EQ(prompt(SegmentKind::spm2).tokens,
            joined({{s.pre, s.suf}, bytes("XY"), {s.mid}, bytes("xyz")}));
  EXPECT_EQ(prompt(SegmentKind::psm, 100, true).tokens,
            joined({{s.eod, s.pre}, bytes("xyz"), {s.suf}, bytes("XY"), {s.mid}}));
  EXPECT_EQ(error_of([&] { prompt(SegmentKind::ar); }), "infill: mode ar has no middle");
}

TEST_F(InfillPromptTest, EmptySidesAndSpelledSentinelsAreText) {
  EXPECT_EQ(prompt(SegmentKind::psm, 3, false, "", "").tokens, (Ids{s.pre, s.suf, s.mid}));
  const Ids spelled = prompt(SegmentKind::psm, 100, false, "<|SUF|>", "<|endoftext|>").tokens;
  EXPECT_EQ(std::count(spelled.begin(), spelled.end(), s.suf), 1);
  EXPECT_EQ(std::count(spelled.begin(), spelled.end(), s.eod), 0);
  EXPECT_EQ(small_tokenizer().decode(spelled), "<|PRE|><|SUF|><|SUF|><|endoftext|><|MID|>");
}

TEST_F(InfillPromptTest, PrefixAndSuffixAreEncodedSeparately) {
  // "return" is one token; cut inside, each side has its own.
  EXPECT_EQ(small_tokenizer().encode("return").size(), 1u);
  const Ids ids = prompt(SegmentKind::spm1, 100, false, "ret", "urn").tokens;
  EXPECT_EQ(ids, joined({{s.suf},
                         small_tokenizer().encode("urn"),
                         {s.pre},
                         small_tokenizer().encode("ret"),
                         {s.mid}}));
}

TEST_F(InfillPromptTest, LongContextsLoseTheirFarEnds) {
  const auto cut = [&](int64_t max_tokens, std::string_view prefix, std::string_view suffix) {
    const InfillPrompt p = prompt(SegmentKind::psm, max_tokens, false, prefix, suffix);
    EXPECT_LE(p.tokens.size(), static_cast<size_t>(max_tokens));
    return fmt::format("{} -{} -{}", small_tokenizer().decode(p.tokens), p.dropped_prefix,
                       p.dropped_suffix);
  };
  EXPECT_EQ(cut(11, "abcd", "wxyz"), "<|PRE|>abcd<|SUF|>wxyz<|MID|> -0 -0");
  EXPECT_EQ(cut(10, "abcd", "wxyz"), "<|PRE|>abcd<|SUF|>wxy<|MID|> -0 -1");
  EXPECT_EQ(cut(9, "abcd", "wxyz"), "<|PRE|>bcd<|SUF|>wxy<|MID|> -1 -1");
  EXPECT_EQ(cut(9, "abcd", "w"), "<|PRE|>abcd<|SUF|>w<|MID|> -0 -0");
  EXPECT_EQ(cut(9, "ABCDEFGH", "w"), "<|PRE|>DEFGH<|SUF|>w<|MID|> -3 -0");
  EXPECT_EQ(cut(9, "a", "stuvwxyz"), "<|PRE|>a<|SUF|>stuvw<|MID|> -0 -3");
  EXPECT_EQ(cut(4, "abcd", "wxyz"), "<|PRE|>d<|SUF|><|MID|> -3 -4");
  EXPECT_EQ(error_of([&] { cut(3, "abcd", "wxyz"); }),
            "infill: a prompt of at most 3 tokens has no room for text beside its sentinels");
  // The EOD of a document's start takes room too.
  EXPECT_EQ(prompt(SegmentKind::psm, 6, true, "abcd", "w").dropped_prefix, 3);
}

TEST(InfillMode, NamesAndTheUsualOne) {
  EXPECT_EQ(infill_mode("psm"), SegmentKind::psm);
  EXPECT_EQ(infill_mode("spm1"), SegmentKind::spm1);
  EXPECT_EQ(infill_mode("spm2"), SegmentKind::spm2);
  EXPECT_EQ(error_of([] { infill_mode("ar"); }), "mode ar: expected psm, spm1 or spm2");
  const auto usual = [](double psm, double spm1, double spm2) {
    return usual_mode({.psm = psm, .spm1 = spm1, .spm2 = spm2});
  };
  EXPECT_EQ(usual(0.5, 0.0, 0.5), SegmentKind::psm);
  EXPECT_EQ(usual(0.0, 1.0, 0.0), SegmentKind::spm1);
  EXPECT_EQ(usual(0.1, 0.3, 0.6), SegmentKind::spm2);
  EXPECT_EQ(usual(0.0, 0.5, 0.5), SegmentKind::spm1);
}

TEST(FillMark, SplitsAtTheOneMark) {
  const Hole hole = split_at_mark("a\n<FILL>b\n", "f");
  EXPECT_EQ(hole.prefix, "a\n");
  EXPECT_EQ(hole.suffix, "b\n");
  EXPECT_EQ(split_at_mark("<FILL>", "f").prefix + split_at_mark("<FILL>", "f").suffix, "");
  EXPECT_EQ(error_of([] { split_at_mark("a <fill> b", "dir/f.c"); }),
            "dir/f.c: no <FILL> mark, expected one where the middle is missing");
  EXPECT_EQ(error_of([] { split_at_mark("\n<FILL>\n\n<FILL>\n<FILL>", "f.c"); }),
            "f.c: <FILL> marks in lines 2 and 4, expected one");
}

}  // namespace
}  // namespace midfill
