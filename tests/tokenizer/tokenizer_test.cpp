#include "src/tokenizer/tokenizer.h"

#include <gmock/gmock.h>

#include "src/tokenizer/bpe_trainer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;

// The GPT-NeoX-20B tokenizer, loaded once.
const Tokenizer* neox() {
  static const std::optional<Tokenizer> kTokenizer = []() -> std::optional<Tokenizer> {
    const auto path = test::test_data("20B_tokenizer.json");
    if (!path) return std::nullopt;
    return Tokenizer::load(*path);
  }();
  return kTokenizer ? &*kTokenizer : nullptr;
}

class Neox : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!neox()) GTEST_SKIP() << "MIDFILL_TEST_DATA has no 20B_tokenizer.json";
  }
};

TEST_F(Neox, AppendsTheSentinels) {
  EXPECT_EQ(neox()->vocab_size(), 50280);
  const Sentinels& s = neox()->sentinels();
  EXPECT_EQ((Ids{s.suf, s.pre, s.mid, s.eod, s.pad}), (Ids{50277, 50278, 50279, 0, 1}));
  EXPECT_EQ(neox()->bytes_of(50277), "<|SUF|>");
  for (const TokenId id : {0, 1, 50277, 50278, 50279}) EXPECT_TRUE(neox()->is_special(id));
  for (const TokenId id : {2, 50253, 50254, 50276}) EXPECT_FALSE(neox()->is_special(id));
  EXPECT_EQ(neox()->encode("a<|SUF|><|PRE|> <|MID|>"), (Ids{66, 50277, 50278, 209, 50279}));
}

TEST_F(Neox, EncodesKnownVectors) {
  const std::pair<std::string, Ids> cases[] = {
      {"", {}},
      {"def f(x):\n    return x", {1545, 269, 9, 89, 2262, 187, 50274, 2309, 1269}},
      {"\n    return", {187, 50274, 2309}},
      {"a  b", {66, 50276, 67}},
      {"\t\tx", {186, 186, 89}},
      {std::string(30, ' ') + "x", {50254, 50272, 89}},
      {"1234567", {42594, 2251}},
      {"don't", {9903, 626}},
      {"e\u0301", {860}},
      {"\u00E9", {860}},
      {"a<|endoftext|>b", {66, 0, 67}},
  };
  for (const auto& [text, ids] : cases) EXPECT_EQ(neox()->encode(text), ids) << text;
}

TEST_F(Neox, DecodesWhatItEncodes) {
  const std::string text =
      "int main() {\n\treturn  0; }\r\n \u4E2D\u6587 \U0001F468\u200D\U0001F469 \u00A0<|MID|>";
  EXPECT_EQ(neox()->decode(neox()->encode(text)), text);
  EXPECT_EQ(neox()->decode(neox()->encode("a\xFFz")), "a\uFFFDz");
  EXPECT_THAT(error_of([] {
                neox()->decode(Ids{5, 50280});
              }),
              HasSubstr("token id 50280 is not one"));
  EXPECT_THAT(error_of([] { neox()->bytes_of(-1); }), HasSubstr("token id -1"));
}

// A document cannot end itself, nor open a sentinel.
TEST_F(Neox, CanLeaveSpecialTokensText) {
  for (const std::string text : {"<|endoftext|>", "x <|SUF|>y", "<|padding|>  <|MID|>"}) {
    const Ids ids = neox()->encode(text, {.match_special = false});
    for (const TokenId id : ids) EXPECT_FALSE(neox()->is_special(id)) << text;
    EXPECT_EQ(neox()->decode(ids), text);
  }
}

TEST_F(Neox, WritesAFileThatReadsTheSame) {
  const std::string json = neox()->to_json();
  const Tokenizer again = Tokenizer::from_json(json, "again");
  EXPECT_TRUE(again.to_json() == json);
  EXPECT_EQ(again.vocab_size(), 50280);
  EXPECT_EQ(again.sentinels().mid, 50279);
  EXPECT_EQ(again.encode("x<|MID|>  y"), neox()->encode("x<|MID|>  y"));
  // The original's bytes are all there, but for the end of the list of added tokens.
  const std::string original = test::read_text(*test::test_data("20B_tokenizer.json"));
  EXPECT_TRUE(json.ends_with(original.substr(original.find("\"normalizer\""))));
}

TEST_F(Neox, DescribesItself) {
  EXPECT_THAT(neox()->summary(),
              HasSubstr("50280 ids (50254 vocabulary, 28 added tokens), 50009 merges, NFC"));
}

TEST_F(Neox, IsLinearOnTextWithoutASplitPoint) {
  const size_t n = 600'000;
  EXPECT_EQ(neox()->encode(std::string(n, ' ')).size(), n / 24);
  for (const char c : {'a', '=', '\n', '1'}) {
    const Ids ids = neox()->encode(std::string(n, c));
    EXPECT_TRUE(neox()->decode(ids) == std::string(n, c));
  }
}

TEST(Tokenizer, NamesAFileThatIsNotThere) {
  EXPECT_THAT(error_of([] { Tokenizer::load("/no/such/tokenizer.json"); }),
              HasSubstr("/no/such/tokenizer.json: cannot open"));
}

TEST(Tokenizer, AnotherTokenMayEndDocuments) {
  PieceCounts counts(true);
  counts.add("some text");
  std::string json = train_bpe(counts, {.vocab_size = 284});
  for (size_t at = 0; (at = json.find("<|endoftext|>", at)) != std::string::npos;)
    json.replace(at, 13, "</s>");
  const Tokenizer t = Tokenizer::from_json(json, "t.json", "</s>");
  EXPECT_EQ(t.sentinels().eod, 0);
  EXPECT_EQ(t.required_eod(), 0);
  // Only who needs it asks for the usual one; a name that was given must be there.
  const Tokenizer without = Tokenizer::from_json(json, "t.json");
  EXPECT_EQ(without.sentinels().eod, -1);
  EXPECT_THAT(error_of([&] { without.required_eod(); }),
              AllOf(HasSubstr("t.json: no token \"<|endoftext|>\", which must end every document"),
                    HasSubstr("--eod"), HasSubstr("data.eod"),
                    HasSubstr("(special tokens of this file: \"</s>\", \"<|padding|>\")")));
  EXPECT_THAT(error_of([&] { Tokenizer::from_json(json, "t.json", "<eos>"); }),
              HasSubstr("t.json: no token \"<eos>\""));
}

// A sentinel that a file has as a plain token of the vocabulary is declared, with the id it has.
TEST(Tokenizer, DeclaresSentinelsOfTheVocabulary) {
  PieceCounts counts(true);
  counts.add("some text");
  std::string json = train_bpe(counts, {.vocab_size = 284});
  // As if <|padding|> had been named <|MID|>, and no sentinel were there.
  const size_t sentinels = json.find(",\n    {\n      \"id\": 281");
  json.erase(sentinels, json.find("\n  ],\n  \"normalizer\"") - sentinels);
  const size_t added = json.find(",\n    {\n      \"id\": 1,");
  json.erase(added, json.find(",\n    {\n      \"id\": 258") - added);
  json.replace(json.find("<|padding|>"), 11, "<|MID|>");

  const Tokenizer t = Tokenizer::from_json(json, "t.json");
  EXPECT_EQ((Ids{t.sentinels().suf, t.sentinels().pre, t.sentinels().mid}), (Ids{281, 282, 1}));
  EXPECT_EQ(t.sentinels().pad, 0) << "there is none, so EOD";
  EXPECT_EQ(t.vocab_size(), 283);
  EXPECT_EQ(t.encode("<|MID|>"), Ids{1});
  const Tokenizer again = Tokenizer::from_json(t.to_json(), "again.json");
  EXPECT_EQ(again.encode("<|MID|><|PRE|>"), (Ids{1, 282}));
  EXPECT_EQ(again.to_json(), t.to_json());
}

}  // namespace
}  // namespace midfill
