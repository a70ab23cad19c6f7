#include "src/data/show.h"

#include "src/data/fim.h"
#include "src/io/json.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

Sample sample_of(const std::string& text, const FimConfig& config) {
  const Tokenizer& tokenizer = test::small_tokenizer();
  std::vector<TokenId> tokens = tokenizer.encode(text, {.match_special = false});
  tokens.push_back(tokenizer.sentinels().eod);
  const auto tail = tokenizer.encode(std::string(40, 'z'));
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  Sample sample;
  FimTransform(config, tokenizer).apply(tokens, {1, Purpose::kFim, 0, 5}, sample);
  sample.index = 17;
  return sample;
}

FimConfig spm1() {
  return {.rate = 1,
          .level = FimLevel::context,
          .unit = FimUnit::character,
          .psm = 0,
          .spm1 = 1,
          .spm2 = 0};
}

TEST(Show, JsonHoldsTokensAndTheTextOfEachPart) {
  const std::string text = "def f(x):\n    return \"\u4e2d\u6587\"\n";
  const Sample sample = sample_of(text, spm1());
  const std::string line = sample_json(sample, test::small_tokenizer());
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const Json json = parse_json(line, "line");
  EXPECT_EQ(json["index"], 17);
  EXPECT_EQ(json["tokens"].get<std::vector<TokenId>>(), sample.tokens);
  ASSERT_EQ(json["segments"].size(), 2u);
  const Json& segment = json["segments"][0];
  EXPECT_EQ(segment["kind"], "spm1");
  EXPECT_EQ(segment["begin"], 0);
  EXPECT_EQ(segment["end"], json["segments"][1]["begin"]);
  EXPECT_EQ(segment["prefix"].get<std::string>() + segment["middle"].get<std::string>() +
                segment["suffix"].get<std::string>(),
            text);
}

TEST(Show, JsonOfPlainTextHasItAllInThePrefix) {
  FimConfig plain = spm1();
  plain.rate = 0;
  const Json json =
      parse_json(sample_json(sample_of("plain text", plain), test::small_tokenizer()), "line");
  EXPECT_EQ(json["segments"][0]["kind"], "ar");
  EXPECT_EQ(json["segments"][0]["prefix"], "plain text");
  EXPECT_EQ(json["segments"][0]["middle"], "");
  EXPECT_EQ(json["segments"][0]["suffix"], "");
}

TEST(Show, JsonStaysValidWhereTheContextCutsACharacter) {
  Sample sample;
  FimConfig plain = spm1();
  plain.rate = 0;
  std::vector<TokenId> tokens = test::small_tokenizer().encode("\U0001F468");
  tokens.pop_back();
  FimTransform(plain, test::small_tokenizer()).apply(tokens, {1, Purpose::kFim, 0, 0}, sample);
  const Json json = parse_json(sample_json(sample, test::small_tokenizer()), "line");
  EXPECT_NE(json["segments"][0]["prefix"].get<std::string>().find("\uFFFD"), std::string::npos);
}

TEST(Show, TextIsTheTokensAndColorIsAnOption) {
  const Sample sample = sample_of("def f(x): pass", spm1());
  const std::string text = sample_text(sample, test::small_tokenizer(), false);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_TRUE(text.starts_with("--- sample 17: "));
  EXPECT_NE(text.find(test::small_tokenizer().decode(sample.tokens)), std::string::npos);
  std::string color = sample_text(sample, test::small_tokenizer(), true);
  EXPECT_NE(color.find("\x1b[1;35m<|SUF|>\x1b[0m"), std::string::npos) << color;
  // Without its escapes it is the same text, and it ends in the terminal's own color.
  EXPECT_NE(color.rfind("\x1b[0m"), std::string::npos);
  for (size_t at; (at = color.find('\x1b')) != std::string::npos;)
    color.erase(at, color.find('m', at) - at + 1);
  EXPECT_EQ(color, text);
}

}  // namespace
}  // namespace midfill
