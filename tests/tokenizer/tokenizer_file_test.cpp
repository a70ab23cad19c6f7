// Files that are malformed, or that ask for what midfill does not do, are refused with one line
// that names the file and the key.
#include "src/tokenizer/tokenizer_file.h"

#include <gmock/gmock.h>

#include "kernels/common/check.h"
#include "src/io/json.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/support/test_support.h"
#include "tests/support/tokenizer_json.h"

namespace midfill {
namespace {

using test::added_token;
using test::byte_level_tokenizer;
using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// All bytes, then "ab" (256), "abc" (257), "<|endoftext|>" (258); added <|endoftext|>, "  " (259).
Json good_file() {
  Json vocab = Json::object();
  TokenId id = 0;
  for (const uint8_t byte : byte_alphabet::bytes_in_order())
    vocab[byte_alphabet::symbols()[byte]] = id++;
  for (const char* token : {"ab", "abc", "<|endoftext|>"}) vocab[token] = id++;
  Json file = byte_level_tokenizer(
      vocab, {"a b", "ab c"},
      Json::array({added_token(258, "<|endoftext|>", true), added_token(259, "  ", false)}));
  file["model"]["end_of_word_suffix"] = "";  // as good as null
  return file;
}

// The error of the changed file; "" where it is good.
std::string error_with(const std::function<void(Json&)>& change) {
  Json file = good_file();
  change(file);
  try {
    Tokenizer::from_json(file.dump(), "t.json");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<TokenId> encode_with(const std::function<void(Json&)>& change, std::string_view text) {
  Json file = good_file();
  change(file);
  return Tokenizer::from_json(file.dump(), "t.json").encode(text);
}

TEST(TokenizerFile, ReadsMergesAsStringsAndPairs) {
  const auto strings = encode_with([](Json&) {}, "abc ab");
  EXPECT_EQ(strings.size(), 3u);
  EXPECT_EQ(strings[0], 257);
  EXPECT_EQ(
      encode_with(
          [](Json& f) {
            f["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
          },
          "abc ab"),
      strings);
  EXPECT_EQ(encode_with(
                [](Json& f) {
                  f["model"]["merges"] = {"#version: 0.2", "a b", "ab c"};
                },
                "abc ab"),
            strings);
}

TEST(TokenizerFile, UnderstandsItsVariants) {
  EXPECT_EQ(encode_with([](Json& f) { f["normalizer"] = nullptr; }, "e\u0301").size(), 3u);
  EXPECT_EQ(encode_with([](Json&) {}, "e\u0301").size(), 2u);
  EXPECT_EQ(encode_with([](Json& f) { f["model"]["merges"] = Json::array(); }, "abc").size(), 3u);
  EXPECT_EQ(encode_with(
                [](Json& f) {
                  f["model"]["merges"] = Json::array();
                  f["model"]["ignore_merges"] = true;
                },
                "abc"),
            std::vector<TokenId>{257});
  EXPECT_EQ(
      encode_with([](Json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }, "abc").size(),
      2u);
  for (const char* key : {"post_processor", "added_tokens", "normalizer"}) {
    EXPECT_EQ(error_with([&](Json& f) { f[key] = nullptr; }), "") << key;
    EXPECT_EQ(error_with([&](Json& f) { f.erase(key); }), "") << key;
  }
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", "b"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  EXPECT_EQ(encode_with(
                [&](Json& f) {
                  Json whole = f["pre_tokenizer"];
                  whole["use_regex"] = false;
                  f["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, whole}}};
                },
                "abc")
                .size(),
            3u);
}

TEST(TokenizerFile, RefusesAModelThatItDoesNotUnderstand) {
  const auto model = [](const char* key, Json value) {
    return error_with([&](Json& f) { f["model"][key] = value; });
  };
  EXPECT_EQ(error_with([](Json& f) { f.erase("model"); }), "t.json: \"model\" is missing");
  EXPECT_EQ(error_with([](Json& f) { f["model"] = 3; }), "t.json: model is 3, expected an object");
  EXPECT_EQ(model("type", "Unigram"), "t.json: model.type is \"Unigram\", expected \"BPE\"");
  EXPECT_THAT(model("dropout", 0.1), StartsWith("t.json: model.dropout is 0.1, expected null"));
  EXPECT_THAT(model("continuing_subword_prefix", "##"),
              HasSubstr("model.continuing_subword_prefix"));
  EXPECT_THAT(model("end_of_word_suffix", "</w>"), HasSubstr("model.end_of_word_suffix"));
  EXPECT_THAT(error_with([](Json& f) {
                f["model"]["byte_fallback"] = true;
                f["model"]["vocab"].erase(byte_alphabet::symbols()[' ']);
              }),
              HasSubstr("model.byte_fallback is true, and model.vocab has no token \"Ġ\""));
  EXPECT_THAT(model("fuse_unk", 1), HasSubstr("model.fuse_unk is 1, expected true or false"));
  EXPECT_EQ(model("surprise", 1), "t.json: model: key \"surprise\" is not understood");
  EXPECT_THAT(error_with([](Json& f) { f["model"].erase("vocab"); }),
              HasSubstr("\"vocab\" is missing"));
  EXPECT_THAT(error_with([](Json& f) { f["model"].erase("merges"); }),
              HasSubstr("\"merges\" is missing"));
}

TEST(TokenizerFile, RefusesABadVocabulary) {
  const auto vocab = [](const char* token, Json id) {
    return error_with([&](Json& f) { f["model"]["vocab"][token] = id; });
  };
  EXPECT_EQ(vocab("new", 256), "t.json: model.vocab: \"ab\" and \"new\" both have id 256");
  EXPECT_THAT(vocab("new", 70'000),
              HasSubstr("model.vocab: \"new\" has id 70000, expected one from 0 to 66055"));
  for (const Json& id : {Json(-1), Json("1"), Json(1.5), Json(uint64_t{1} << 63), Json(nullptr)})
    EXPECT_THAT(vocab("new", id), HasSubstr("model.vocab: \"new\" has id")) << id;
  EXPECT_THAT(error_with([](Json& f) { f["model"]["vocab"] = Json::object(); }),
              HasSubstr("model.vocab is empty"));
  EXPECT_THAT(error_with([](Json& f) { f["model"]["vocab"] = 1; }),
              HasSubstr("expected an object"));
  // A byte that text may hold; and one that UTF-8 never has, which may be missing.
  const auto rename = [](int byte) {
    return error_with([byte](Json& f) {
      Json& v = f["model"]["vocab"];
      const std::string& symbol = byte_alphabet::symbols()[static_cast<size_t>(byte)];
      v["renamed"] = v[symbol];
      v.erase(symbol);
    });
  };
  EXPECT_THAT(rename('q'), HasSubstr("model.vocab: no token \"q\" for byte 0x71"));
  EXPECT_THAT(rename(0x80), HasSubstr("for byte 0x80"));
  EXPECT_EQ(rename(0xFF), "");
}

TEST(TokenizerFile, RefusesBadMerges) {
  const auto merges = [](Json list) {
    return error_with([&](Json& f) { f["model"]["merges"] = list; });
  };
  EXPECT_EQ(merges({"a b", "a zz"}),
            "t.json: model.merges[1] is \"a zz\": \"zz\" is not in model.vocab");
  EXPECT_EQ(merges({"b c"}), "t.json: model.merges[0] is \"b c\": \"bc\" is not in model.vocab");
  EXPECT_THAT(merges({"a b", "a b"}), HasSubstr("model.merges[1] is \"a b\", which stands twice"));
  EXPECT_THAT(merges({"a a"}), HasSubstr("\"aa\" is not in model.vocab"));
  for (const Json& bad : {Json("ab"), Json("a b c"), Json(7), Json::array({"a"}),
                          Json::array({"a", 1}), Json::array({"a", "b", "c"}), Json(nullptr)})
    EXPECT_THAT(merges(Json::array({bad})),
                AllOf(HasSubstr("model.merges[0] is"), HasSubstr("expected two tokens")))
        << bad;
  EXPECT_THAT(merges("a b"), HasSubstr("model.merges is \"a b\", expected an array"));
}

TEST(TokenizerFile, RefusesBadAddedTokens) {
  const auto added = [](const char* key, Json value) {
    return error_with([&](Json& f) { f["added_tokens"][1][key] = value; });
  };
  EXPECT_EQ(added("content", ""), "t.json: added_tokens[1].content is empty");
  EXPECT_THAT(added("content", "<|endoftext|>"),
              HasSubstr("added_tokens[1].content is \"<|endoftext|>\", which stands twice"));
  EXPECT_THAT(added("id", 7), HasSubstr("added_tokens[1] (\"  \") has id 7, expected 259"));
  EXPECT_THAT(added("id", 261), HasSubstr("expected 259"));
  EXPECT_THAT(added("content", "ab"), HasSubstr("has id 259, expected 256: its id in model.vocab"));
  EXPECT_THAT(added("special", "yes"),
              HasSubstr("added_tokens[1].special is \"yes\", expected true or false"));
  EXPECT_THAT(added("surprise", 1),
              HasSubstr("added_tokens[1]: key \"surprise\" is not understood"));
  EXPECT_THAT(error_with([](Json& f) { f["added_tokens"][0].erase("lstrip"); }),
              HasSubstr("added_tokens[0]: \"lstrip\" is missing"));
  EXPECT_EQ(added("content", "a\nb"), "");
}

TEST(TokenizerFile, RefusesStepsThatItDoesNotUnderstand) {
  const auto with = [](const char* key, Json value) {
    return error_with([&](Json& f) { f[key] = value; });
  };
  EXPECT_THAT(with("normalizer", {{"type", "Lowercase"}}),
              HasSubstr("normalizer.type is \"Lowercase\", expected \"NFC\", \"NFKC\""));
  EXPECT_THAT(with("normalizer", {{"type", "NFC"}, {"x", 1}}), HasSubstr("normalizer: key \"x\""));
  EXPECT_THAT(with("pre_tokenizer", nullptr), HasSubstr("pre_tokenizer is null"));
  EXPECT_THAT(with("pre_tokenizer", {{"type", "Metaspace"}}),
              HasSubstr("pre_tokenizer.type is \"Metaspace\""));
  EXPECT_THAT(with("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array()}}),
              HasSubstr("pre_tokenizer: no step is \"ByteLevel\""));
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  EXPECT_THAT(
      with("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {byte_level, byte_level}}}),
      HasSubstr("pre_tokenizer.pretokenizers[1]: a second \"ByteLevel\""));
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", "\\w+"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  EXPECT_THAT(with("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}),
              HasSubstr("pre_tokenizer.pretokenizers[0].pattern.Regex: the pattern has \"\\w\""));
  const auto with_split = [&](Json changes) {
    Json step = split;
    step["pattern"]["Regex"] = "\\p{L}+";
    step.update(changes);
    return with("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {step, byte_level}}});
  };
  EXPECT_EQ(with_split({{"behavior", "MergedWithNext"}, {"invert", true}}), "");
  EXPECT_THAT(
      with_split({{"behavior", "Removed"}}),
      HasSubstr("pretokenizers[0].behavior is \"Removed\": the text that matches would be"));
  EXPECT_THAT(with_split({{"behavior", "Removed"}, {"invert", true}}),
              HasSubstr("text that the pattern does not match, such as U+0001, would be lost"));
  EXPECT_THAT(with_split({{"behavior", "isolated"}}),
              HasSubstr("pretokenizers[0].behavior is \"isolated\", expected \"Isolated\""));
  EXPECT_THAT(with("post_processor", {{"type", "Custom"}}),
              HasSubstr("post_processor.type is \"Custom\", expected"));
  EXPECT_THAT(with("decoder", {{"type", "WordPiece"}}), HasSubstr("decoder.type is"));
  EXPECT_THAT(with("padding", 1), HasSubstr("padding is 1, expected an object"));
  EXPECT_THAT(with("version", "2.0"), HasSubstr("version is \"2.0\", expected \"1.0\""));
  EXPECT_EQ(with("surprise", 1), "t.json: key \"surprise\" is not understood");
}

// What the vocabularies of OpenAI look like: special tokens in it, behind ids that nothing has.
TEST(TokenizerFile, IdsMayLeaveAGap) {
  const auto gap = [](Json& f) {
    f["model"]["vocab"]["<|endoftext|>"] = 300;
    f["added_tokens"][0]["id"] = 300;
    f["added_tokens"][1]["id"] = 301;
  };
  Json file = good_file();
  gap(file);
  const Tokenizer t = Tokenizer::from_json(file.dump(), "t.json");
  EXPECT_EQ(t.sentinels().eod, 300);
  EXPECT_EQ(t.sentinels().suf, 302) << "the next after the last, as in Hugging Face";
  EXPECT_EQ(t.encode("abc<|endoftext|>  "), (std::vector<TokenId>{257, 300, 301}));
  EXPECT_EQ(t.bytes_of(280), "");
  EXPECT_EQ(t.decode(std::vector<TokenId>{257, 280, 301}), "abc  ");
  // Hugging Face counts tokens: here it would give the id of "last" a second time.
  EXPECT_THAT(error_with([](Json& f) {
                f["model"]["vocab"].erase("<|endoftext|>");
                f["model"]["vocab"]["last"] = 259;
                f["added_tokens"] = Json::array();
              }),
              HasSubstr("t.json: <|SUF|>: an added token would get id 259 there, which is that of "
                        "\"last\""));
}

TEST(TokenizerFile, PassesOverWhatHasNoPartInIds) {
  Json file = good_file();
  const auto ids = Tokenizer::from_json(file.dump(), "t.json").encode("abc ab");
  EXPECT_TRUE(Tokenizer::from_json(file.dump(), "t.json").notes().empty());
  file["post_processor"] = {
      {"type", "Sequence"},
      {"processors", {{{"type", "ByteLevel"}}, {{"type", "TemplateProcessing"}}}}};
  file["decoder"] = nullptr;
  file["truncation"] = {{"max_length", 2}};
  file["padding"] = {{"pad_id", 1}};
  const Tokenizer t = Tokenizer::from_json(file.dump(2), "t.json");
  EXPECT_EQ(t.encode("abc ab"), ids);
  ASSERT_EQ(t.notes().size(), 2u);
  EXPECT_THAT(t.notes()[0], StartsWith("t.json: \"truncation\" is passed over"));
  EXPECT_THAT(t.notes()[1], StartsWith("t.json: \"padding\" is passed over"));
  // What is written means the same everywhere.
  const Json written = parse_json(t.to_json(), "written");
  EXPECT_TRUE(written["truncation"].is_null() && written["padding"].is_null());
  EXPECT_EQ(written["post_processor"], file["post_processor"]);
}

TEST(TokenizerFile, RefusesBrokenJson) {
  const std::string good = good_file().dump();
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("null"), "\xEF\xBB\xBF" + good, good + "}",
        good.substr(0, good.size() / 2), std::string(5000, '['), std::string("{\"a\":\xFF}"),
        std::string("{\"model\": NaN}"), std::string("{\"model\":\"\\uD800\"}")}) {
    const std::string error = error_of([&] { Tokenizer::from_json(text, "t.json"); });
    EXPECT_THAT(error, AllOf(StartsWith("t.json: "), Not(HasSubstr("\n")))) << text.substr(0, 40);
  }
  std::string twice = good;
  twice.replace(twice.find("\"ab\":256"), 8, "\"ab\":256,\"ab\":256");
  EXPECT_THAT(error_of([&] { Tokenizer::from_json(twice, "t.json"); }),
              HasSubstr("\"ab\" stands twice"));
  twice = good;
  twice.insert(1, "\"version\":\"1.0\",");
  EXPECT_EQ(error_of([&] { Tokenizer::from_json(twice, "t.json"); }),
            "t.json: key \"version\" stands twice");
}

// Every prefix and every overwritten byte: read or refused, never anything else.
TEST(TokenizerFile, SurvivesEveryTruncationAndDamage) {
  const std::string good = good_file().dump();
  for (size_t n = 0; n < good.size(); n += 7)
    EXPECT_NE(error_of([&] { parse_tokenizer_file(good.substr(0, n), "t.json"); }), "") << n;
  for (size_t at = 0; at < good.size(); at += 3) {
    for (const char c : {'"', '{', ']', '0', '\xFF'}) {
      std::string text = good;
      text[at] = c;
      try {
        Tokenizer::from_json(text, "t.json").encode("abc  \u00E9<|endoftext|>");
      } catch (const Error&) {
      }
    }
  }
}

// Found by fuzzing: names and values of the file stood in messages as they were.
TEST(TokenizerFile, MessagesAreOneLineWhateverTheFileHolds) {
  const std::string odd = "\n\x7f" + std::string(5000, 'x');
  for (const std::string& message : {
           error_with([&](Json& f) { f[odd] = 1; }),
           error_with([&](Json& f) { f["version"] = odd; }),
           error_with([&](Json& f) { f["normalizer"]["type"] = odd; }),
           error_with([&](Json& f) { f["model"]["vocab"][odd] = odd; }),
           error_with([&](Json& f) { f["model"]["merges"] = {"a " + odd}; }),
           error_with([&](Json& f) { f["added_tokens"].push_back(added_token(5, odd, true)); }),
       }) {
    EXPECT_THAT(message, Not(::testing::ContainsRegex("[\x01-\x1f\x7f]")));
    EXPECT_FALSE(message.empty());
    EXPECT_LT(message.size(), 500u) << message;
  }
}

TEST(TokenizerFile, AppendsTokensAndKeepsTheRest) {
  const AddedToken token{.id = 260, .content = "<\"x\">", .rstrip = true, .special = true};
  for (const int indent : {-1, 2}) {
    for (int form = 0; form < 4; ++form) {
      Json file = good_file();
      if (form == 1) file["added_tokens"] = Json::array();
      if (form == 2) file["added_tokens"] = nullptr;
      if (form == 3) file.erase("added_tokens");
      const std::string text = file.dump(indent);
      EXPECT_EQ(with_added_tokens(text, {}), text);
      const Json after = parse_json(with_added_tokens(text, std::span(&token, 1)), "after");
      Json list = after["added_tokens"];
      EXPECT_EQ(list.size(), form == 0 ? 3u : 1u);
      EXPECT_EQ(list.back()["content"], token.content);
      EXPECT_EQ(list.back()["rstrip"], true);
      Json rest = after;
      rest.erase("added_tokens");
      file.erase("added_tokens");
      EXPECT_EQ(rest, file);
    }
  }
}

}  // namespace
}  // namespace midfill
