#include "src/config/config.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "src/config/fields.h"
#include "src/config/value.h"
#include "src/io/json.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::TemporaryDirectory;
using testing::Test;

const Field* find(const std::string& name) {
  for (const Field& field : fields())
    if (field.name() == name) return &field;
  ADD_FAILURE() << name;
  return nullptr;
}

std::string refusal(const std::string& json, const std::vector<std::string>& overrides = {}) {
  return error_of([&] { parse_config(json, "c.json", overrides); });
}

TEST(Config, EmptyObjectGivesTheDefaults) {
  const Config config = parse_config("{}", "c.json");
  EXPECT_TRUE(differences(Config{}, config).empty());
  EXPECT_EQ(config.seed, 1234u);
}

TEST(Config, ReadsEveryKindOfValue) {
  const Config config = parse_config(
      R"({"seed": 18446744073709551615, "model": {"n_layers": 2, "tied_embeddings": true, "activation": "gelu_erf"},
          "data": {"train": "a/b"}, "fim": {"unit": "char", "rate": 1}, "train": {"steps": 1e6}})",
      "c.json");
  EXPECT_EQ(config.seed, UINT64_MAX);
  EXPECT_EQ(config.model.n_layers, 2);
  EXPECT_TRUE(config.model.tied_embeddings);
  EXPECT_EQ(config.model.activation, Activation::gelu_erf);
  EXPECT_EQ(config.data.train.at(0).path, "a/b");
  EXPECT_EQ(config.fim.rate, 1.0);
  EXPECT_EQ(config.train.steps, 1000000);
}

TEST(Config, WritesWhatItReads) {
  Config config;
  config.seed = UINT64_MAX;
  config.optim.lr = 0.1 + 0.2;
  config.fim.unit = FimUnit::line;
  config.optim.schedule = Schedule::wsd;
  config.data.valid = {{.path = "a \"quoted\" \xC3\xA9"}};
  const std::string text = to_json(config);
  EXPECT_TRUE(differences(config, parse_config(text, "c.json")).empty());
  EXPECT_EQ(to_json(parse_config(text, "c.json")), text);
}

TEST(Config, OverridesWinAndTakeBareStrings) {
  const Config config = parse_config(
      R"({"optim": {"lr": 1}})", "c.json",
      {"optim.lr=3e-4", "data.train=runs/x=y", "fim.level=document", "data.valid=\"quoted\"",
       "seed=7", "optim.schedule=\"linear\"", "data.tokenizer=12"});
  EXPECT_EQ(config.optim.lr, 3e-4);
  EXPECT_EQ(config.data.train.at(0).path, "runs/x=y");
  EXPECT_EQ(config.data.valid.at(0).path, "quoted");
  EXPECT_EQ(config.data.tokenizer, "12");
  EXPECT_EQ(config.fim.level, FimLevel::document);
  EXPECT_EQ(config.optim.schedule, Schedule::linear);
  EXPECT_EQ(config.seed, 7u);
}

TEST(Config, NamesTheNearestKey) {
  EXPECT_EQ(refusal(R"({"model": {"n_layesr": 1}})"),
            "c.json: unknown key \"model.n_layesr\"; the nearest valid key is \"model.n_layers\"");
  EXPECT_EQ(refusal(R"({"modle": {}})"),
            "c.json: unknown key \"modle\"; the nearest valid key is \"model\"");
  EXPECT_EQ(refusal(R"({"batch_token": 1})"),
            "c.json: unknown key \"batch_token\"; the nearest valid key is \"train.batch_tokens\"");
  EXPECT_EQ(refusal(R"({"train": {"lr": 1}})"),
            "c.json: unknown key \"train.lr\"; the nearest valid key is \"optim.lr\"");
  EXPECT_EQ(refusal("{}", {"optim.warmpu=1"}),
            "--set: unknown key \"optim.warmpu\"; the nearest valid key is \"optim.warmup\"");
  EXPECT_EQ(refusal(R"({"train": {"batchTokens": 1}})"),
            "c.json: unknown key \"train.batchTokens\"; the nearest valid key is "
            "\"train.batch_tokens\"");
  EXPECT_EQ(refusal(R"({"optim.lr": 1})"),
            "c.json: key \"optim.lr\" stands at the top level, expected \"lr\" inside \"optim\"");
  EXPECT_LT(refusal("{\"" + std::string(100000, 'k') + "\": 1}").size(), 300u);
}

// What is like no key at all is not sent to one that means something else.
TEST(Config, NamesNoKeyThatIsNotNear) {
  for (const char* name : {"dropout", "model.dropout", "output_dir", "train.out_dir", "name", "x",
                           "", "optim.", "fsdp", "wandb_project"})
    EXPECT_EQ(refusal("{}", {std::string(name) + "=1"}),
              fmt::format("--set: unknown key \"{}\"; `midfill train --keys` lists the valid ones",
                          name));
}

TEST(Config, NamesKeyFoundAndExpected) {
  EXPECT_EQ(refusal(R"({"model": {"n_layers": "6"}})"),
            "c.json: model.n_layers is \"6\", expected an integer in 1..1024");
  EXPECT_EQ(refusal(R"({"model": {"n_layers": 0}})"),
            "c.json: model.n_layers is 0, expected an integer in 1..1024");
  EXPECT_EQ(refusal(R"({"model": {"n_layers": -1}})"),
            "c.json: model.n_layers is -1, expected an integer in 1..1024");
  EXPECT_EQ(refusal(R"({"model": {"n_layers": 2.5}})"),
            "c.json: model.n_layers is 2.5, expected an integer in 1..1024");
  EXPECT_EQ(refusal(R"({"train": {"steps": 9223372036854775808}})"),
            "c.json: train.steps is 9223372036854775808, expected an integer in 1..1099511627776");
  EXPECT_EQ(refusal(R"({"train": {"steps": 1e300}})").substr(0, 29),
            "c.json: train.steps is 1e+300");
  EXPECT_EQ(refusal(R"({"seed": -1})"),
            "c.json: seed is -1, expected an integer in 0..18446744073709551615");
  EXPECT_EQ(refusal(R"({"seed": 18446744073709551616})").substr(0, 15), "c.json: seed is");
  EXPECT_EQ(refusal(R"({"fim": {"rate": 1.01}})"),
            "c.json: fim.rate is 1.01, expected a number in [0, 1]");
  EXPECT_EQ(refusal(R"({"fim": {"rate": true}})"),
            "c.json: fim.rate is true, expected a number in [0, 1]");
  EXPECT_EQ(refusal(R"({"fim": {"spm1": -0.5}})"),
            "c.json: fim.spm1 is -0.5, expected a number >= 0");
  EXPECT_EQ(refusal(R"({"optim": {"eps": 0}})"),
            "c.json: optim.eps is 0, expected a number in [1.2e-38, 1]");
  EXPECT_EQ(refusal(R"({"model": {"tied_embeddings": 1}})"),
            "c.json: model.tied_embeddings is 1, expected true or false");
  EXPECT_EQ(refusal(R"({"fim": {"level": "file"}})"),
            "c.json: fim.level is \"file\", expected one of \"context\", \"document\"");
  EXPECT_EQ(refusal(R"({"data": {"train": null}})"),
            "c.json: data.train is null, expected a text without control characters, or a list of "
            "objects with name, path and weight");
  EXPECT_EQ(refusal(R"({"data": {"train": "a\u0000b"}})").substr(0, 22), "c.json: data.train is ");
  EXPECT_EQ(refusal(R"({"optim": 3})"),
            "c.json: optim is 3, expected an object with the keys of the section");
  EXPECT_EQ(refusal("[]"), "c.json: the file holds [], expected an object");
  EXPECT_EQ(refusal("{}", {"optim.lr"}), "--set optim.lr: expected section.key=value");
  EXPECT_EQ(refusal("{}", {"optim=1"}), "--set optim=1: names a section, expected optim.key=value");
  EXPECT_EQ(refusal("{}", {"optim.lr=fast"}),
            "--set: optim.lr is fast, expected 0 or a number in [1.2e-38, 3.4e+38]");
  EXPECT_EQ(refusal("{}", {"optim.lr="}),
            "--set: optim.lr is empty, expected 0 or a number in [1.2e-38, 3.4e+38]");
  EXPECT_EQ(refusal("{}", {"optim.lr=1e999"}),
            "--set: optim.lr is 1e999, expected 0 or a number in [1.2e-38, 3.4e+38]");
  EXPECT_EQ(refusal("{}", {"data.train=\xff"}), "--set data.train: the value is not valid UTF-8");
}

// What kernels take as f32 is neither 0 nor infinity there by rounding, and a decay stays below 1.
TEST(Config, NumbersForKernelsAreNormalAsF32) {
  const Field* const fields[] = {find("optim.lr"),
                                 find("optim.beta1"),
                                 find("optim.beta2"),
                                 find("optim.eps"),
                                 find("optim.clip"),
                                 find("optim.weight_decay"),
                                 find("model.layer_norm_eps")};
  for (const Field* field : fields) {
    SCOPED_TRACE(field->name());
    const auto takes = [&](double value) {
      Config config;
      if (!field->set(config, Json(value))) return false;
      EXPECT_EQ(field->get(config), Json(value));
      return true;
    };
    for (double value = 1e-60; value < 1e60; value *= 1.5) {
      if (!takes(value)) continue;
      EXPECT_TRUE(std::isnormal(static_cast<float>(value))) << value;
      EXPECT_TRUE(!field->key.starts_with("beta") || static_cast<float>(value) < 1.0f) << value;
    }
    EXPECT_TRUE(takes(1.2e-38));
    EXPECT_FALSE(takes(1e-38));
    EXPECT_FALSE(takes(1e-46));
    EXPECT_FALSE(takes(1e39));
    EXPECT_FALSE(takes(-1.0));
    EXPECT_EQ(takes(0.0), field->expected.starts_with("0 or "));
  }
  for (const char* key : {"optim.beta1", "optim.beta2"}) {
    Config config;
    EXPECT_TRUE(find(key)->set(config, Json(0.99999994)));
    EXPECT_LT(static_cast<float>(config.optim.beta1), 1.0f);
    EXPECT_LT(static_cast<float>(config.optim.beta2), 1.0f);
    EXPECT_FALSE(find(key)->set(config, Json(0.99999998))) << "1 as f32";
  }
  EXPECT_EQ(refusal(R"({"optim": {"lr": 1e39}})"),
            "c.json: optim.lr is 1e+39, expected 0 or a number in [1.2e-38, 3.4e+38]");
  EXPECT_EQ(refusal("{}", {"optim.eps=1e-46"}),
            "--set: optim.eps is 1e-46, expected a number in [1.2e-38, 1]");
}

TEST(Config, NumbersThatADoubleDoesNotHoldAreErrors) {
  EXPECT_EQ(refusal(R"({"fim": {"rate": 1e-400}})"),
            "c.json: not valid JSON: number underflow parsing '1e-400', expected 0 or at least "
            "2.3e-308");
  EXPECT_EQ(refusal("{}", {"fim.rate=1e-400"}),
            "--set fim.rate: not valid JSON: number underflow parsing '1e-400', expected 0 or at "
            "least 2.3e-308");
  EXPECT_EQ(refusal(R"({"data": {"train": [{"name": "a", "path": "p", "weight": 1e-400}]}})")
                .substr(0, 52),
            "c.json: not valid JSON: number underflow parsing '1e");
  EXPECT_EQ(refusal("{}", {R"(data.train=[{"name": "a", "name": "b"}])"}),
            "--set data.train: key \"name\" stands twice in one object");
}

TEST(Config, ImpossibleValuesUnderAKeySayWhatItTakes) {
  Config config;
  EXPECT_EQ(set_value(config, "model.d_ff", Json(7)), std::nullopt);
  EXPECT_EQ(config.model.d_ff, 7);
  EXPECT_EQ(set_value(config, "model.d_ff", Json(0)), "an integer in 1..1048576");
  EXPECT_EQ(config.model.d_ff, 7);
  EXPECT_NE(error_of([&] { set_value(config, "model.nope", Json(0)); }).find("model.nope"),
            std::string::npos);
}

TEST(Config, RefusesImpossibleCombinations) {
  EXPECT_EQ(refusal(R"({"model": {"d_model": 100, "n_heads": 6}})"),
            "c.json: model.n_heads is 6, expected a divisor of model.d_model, 100");
  EXPECT_EQ(
      refusal(R"({"model": {"d_model": 120, "n_heads": 6, "rotary_pct": 0.25}})"),
      "c.json: model.rotary_pct is 0.25, which turns 5 dims of a head of 20, expected an even "
      "number of at least 2");
  EXPECT_EQ(refusal(R"({"model": {"d_model": 6, "n_heads": 6}})").substr(0, 24),
            "c.json: model.rotary_pct");
  EXPECT_EQ(refusal(R"({"fim": {"psm": 0, "spm1": 0, "spm2": 0}})"),
            "c.json: fim.psm, fim.spm1 and fim.spm2 are all 0, expected at least one above 0 as "
            "fim.rate is 0.9");
  parse_config(R"({"fim": {"rate": 0, "psm": 0, "spm1": 0, "spm2": 0}})", "c.json");
  EXPECT_EQ(refusal(R"({"fim": {"psm": 1e308, "spm1": 1e308}})"),
            "c.json: fim.psm + fim.spm1 + fim.spm2 overflows, expected smaller weights");
  EXPECT_EQ(refusal(R"({"optim": {"schedule": "wsd", "warmup": 0.9}})"),
            "c.json: optim.warmup 0.9 and optim.decay 0.2 add up to more than 1, expected at most "
            "all steps");
  parse_config(R"({"optim": {"schedule": "cosine", "warmup": 0.9}})", "c.json");
  EXPECT_EQ(refusal(R"({"train": {"batch_tokens": 1000}})"),
            "c.json: train.batch_tokens is 1000, expected a multiple of model.n_ctx, 512");
  EXPECT_EQ(
      refusal(
          R"({"model": {"n_ctx": 4194304}, "train": {"micro_batch": 65, "batch_tokens": 4194304}})"),
      "c.json: train.micro_batch is 65, expected at most 64 samples of model.n_ctx 4194304");
}

constexpr const char* kTwoSources = R"({"data": {"train": [
    {"name": "code", "path": "d/code", "weight": 0.7}, {"name": "text.en", "path": "d/t"}]}})";

TEST(Sources, AreAPathOrAList) {
  EXPECT_TRUE(parse_config(R"({"data": {"train": ""}})", "c.json").data.train.empty());
  const auto one = parse_config(R"({"data": {"train": "d/code"}})", "c.json").data.train;
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].name, "");
  EXPECT_EQ(one[0].path, "d/code");
  EXPECT_EQ(one[0].weight, 1.0);
  const Config config = parse_config(kTwoSources, "c.json");
  ASSERT_EQ(config.data.train.size(), 2u);
  EXPECT_EQ(config.data.train[0].name, "code");
  EXPECT_EQ(config.data.train[0].weight, 0.7);
  EXPECT_EQ(config.data.train[1].path, "d/t");
  EXPECT_EQ(config.data.train[1].weight, 1.0);
  EXPECT_EQ(to_json(parse_config(to_json(config), "c.json")), to_json(config));
  EXPECT_NE(to_json(parse_config(R"({"data": {"valid": "v"}})", "")).find(R"("valid": "v")"),
            std::string::npos)
      << "a path stays a path";
}

TEST(Sources, TakeOverrides) {
  const Config path = parse_config(kTwoSources, "c.json", {"data.train=d/other"});
  ASSERT_EQ(path.data.train.size(), 1u);
  EXPECT_EQ(path.data.train[0].path, "d/other");
  const Config list = parse_config(
      "{}", "c.json", {R"(data.valid=[{"name": "a", "path": "[x]"}, {"name": "b", "path": "y"}])"});
  ASSERT_EQ(list.data.valid.size(), 2u);
  EXPECT_EQ(list.data.valid[0].path, "[x]");
  EXPECT_EQ(parse_config("{}", "c.json", {R"(data.valid="[x]")"}).data.valid.at(0).path, "[x]");
  EXPECT_TRUE(parse_config(kTwoSources, "c.json", {"data.train="}).data.train.empty());
  EXPECT_EQ(refusal("{}", {"data.train=[x"}),
            "--set: data.train is [x, expected a text without control characters, or a list of "
            "objects with name, path and weight");
  EXPECT_EQ(refusal("{}", {R"(data.train=[{"name": "a"}])"}),
            "--set: data.train[0] has no \"path\", expected the prefix of a dataset");
}

TEST(Sources, ErrorsNameTheElement) {
  const auto refused = [](const std::string& second) {
    return refusal(R"({"data": {"train": [{"name": "a", "path": "p"}, )" + second + "]}}");
  };
  EXPECT_EQ(refusal(R"({"data": {"train": []}})"),
            "c.json: data.train is [], expected a text without control characters, or a list of "
            "objects with name, path and weight");
  EXPECT_EQ(refused("3"),
            "c.json: data.train[1] is 3, expected an object with name, path and weight");
  EXPECT_EQ(refused(R"({"path": "q"})"),
            "c.json: data.train[1] has no \"name\", expected one for each source");
  EXPECT_EQ(refused(R"({"name": "b"})"),
            "c.json: data.train[1] has no \"path\", expected the prefix of a dataset");
  EXPECT_EQ(refused(R"({"name": "a", "path": "q"})"),
            "c.json: data.train[1].name is \"a\", expected another name than data.train[0] has");
  for (const char* name : {R"("")", R"("a/b")", R"("a b")", "1"})
    EXPECT_EQ(refused(fmt::format(R"({{"name": {}, "path": "q"}})", name)),
              fmt::format("c.json: data.train[1].name is {}, expected 1 to 64 letters, digits, "
                          "'.', '_' and '-'",
                          name));
  for (const char* path : {R"("")", "null"})
    EXPECT_EQ(refused(fmt::format(R"({{"name": "b", "path": {}}})", path)),
              fmt::format("c.json: data.train[1].path is {}, expected the prefix of a dataset, "
                          "without control characters",
                          path));
  for (const char* weight : {"0", "-1", "\"1\""})
    EXPECT_EQ(refused(fmt::format(R"({{"name": "b", "path": "q", "weight": {}}})", weight)),
              fmt::format("c.json: data.train[1].weight is {}, expected a number > 0", weight));
  EXPECT_EQ(
      refused(R"({"name": "b", "path": "q", "wieght": 2})"),
      "c.json: data.train[1]: unknown key \"wieght\", expected \"name\", \"path\" and \"weight\"");
  EXPECT_EQ(refused(R"({"name": "b", "path": "q", "weight": 1e308},
                       {"name": "c", "path": "q", "weight": 1e308})"),
            "c.json: data.train: the sum of the weights overflows, expected smaller ones");
}

// Files may move; which sources a run has, and how much of each, may not change.
TEST(Sources, OnlyPathsOfTrainingDataMayChangeAtResume) {
  const Config two = parse_config(kTwoSources, "c.json");
  const auto changed = [&](auto change) {
    Config config = two;
    change(config);
    return differences(two, config);
  };
  const auto moved = changed([](Config& c) { c.data.train[1].path = "elsewhere/t"; });
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_EQ(moved[0].key, "data.train[1].path");
  EXPECT_EQ(moved[0].before, "\"d/t\"");
  EXPECT_EQ(moved[0].after, "\"elsewhere/t\"");
  EXPECT_TRUE(moved[0].may_change);
  const auto weighed = changed([](Config& c) { c.data.train[0].weight = 0.6; });
  ASSERT_EQ(weighed.size(), 1u);
  EXPECT_EQ(weighed[0].key, "data.train[0].weight");
  EXPECT_FALSE(weighed[0].may_change);
  EXPECT_FALSE(changed([](Config& c) { c.data.train[0].name = "x"; }).at(0).may_change);
  EXPECT_FALSE(changed([](Config& c) { c.data.train.pop_back(); }).at(0).may_change);
  EXPECT_FALSE(changed([](Config& c) { c.data.train = {{.path = "d/code"}}; }).at(0).may_change);
  EXPECT_EQ(changed([](Config& c) { std::swap(c.data.train[0], c.data.train[1]); }).size(), 6u);
  EXPECT_TRUE(changed([](Config& c) { c.data.valid = c.data.train; }).at(0).may_change);
  const Config one = parse_config("{}", "c.json", {"data.train=a"});
  EXPECT_TRUE(differences(one, parse_config("{}", "c.json", {"data.train=b"})).at(0).may_change);
}

TEST(Config, RefusesMalformedFiles) {
  const TemporaryDirectory dir;
  const auto load = [&](const std::string& name) {
    const std::string message = error_of([&] { load_config(dir / name); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_NE(message.find(dir / name), std::string::npos) << message;
    return message;
  };
  const auto refused = [&](const std::string& text) {
    test::write_text(dir / "c.json", text);
    return load("c.json");
  };
  EXPECT_NE(refused("\xEF\xBB\xBF{}").find("byte order mark"), std::string::npos);
  EXPECT_NE(refused(R"({"seed": 1,})").find("line 1, column 12"), std::string::npos);
  EXPECT_NE(refused(R"({"optim": {"lr": NaN}})").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refused(R"({"optim": {"lr": 1e999}})").find("1e999"), std::string::npos);
  EXPECT_NE(refused(R"({"seed": 1, "seed": 2})").find("\"seed\" stands twice"), std::string::npos);
  EXPECT_NE(refused(R"({"optim": {"lr": 1, "lr": 1}})").find("\"lr\" stands twice"),
            std::string::npos);
  EXPECT_NE(refused("{\"optim\": " + std::string(100000, '[')).find("nested deeper"),
            std::string::npos);
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_NE(refused(deep).find("nested deeper"), std::string::npos);
  EXPECT_NE(refused("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refused(std::string(2 << 20, ' ')).find("expected at most"), std::string::npos);
  EXPECT_NE(refused("{\"seed\": 1").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refused(std::string("{\"seed\"\0: 1}", 12)).find("not valid JSON"), std::string::npos);
  EXPECT_NE(refused("{\"data\": {\"train\": \"\xff\"}}").find("not valid JSON"), std::string::npos);

  EXPECT_NE(load("absent.json").find("No such file"), std::string::npos);
  std::filesystem::create_directory(dir / "directory");
  EXPECT_NE(load("directory").find("found a directory"), std::string::npos);
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_NE(load("pipe").find("a pipe"), std::string::npos);
  test::write_text(dir / "closed.json", "{}");
  std::filesystem::permissions(dir / "closed.json", std::filesystem::perms::none);
  if (::geteuid() != 0) {
    EXPECT_NE(load("closed.json").find("Permission denied"), std::string::npos);
  }
}

TEST(Config, DifferencesSayWhatMayChange) {
  Config a, b;
  b.optim.lr = 0.5;
  b.train.threads = 3;
  const auto found = differences(a, b);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].key, "optim.lr");
  EXPECT_EQ(found[0].before, "0.001");
  EXPECT_EQ(found[0].after, "0.5");
  EXPECT_FALSE(found[0].may_change);
  EXPECT_EQ(found[1].key, "train.threads");
  EXPECT_TRUE(found[1].may_change);
}

// Every member of the structs has a key: the sizes below change with the structs, and so remind of
// fields.cpp.
TEST(Config, ListsEveryMember) {
  const Json root = parse_json(to_json(Config{}), "defaults");
  size_t keys = 0;
  for (const auto& [name, value] : root.items()) keys += value.is_object() ? value.size() : 1;
  EXPECT_EQ(keys, 58u);
  EXPECT_EQ(sizeof(Config), 464u) << "a member came or went: update fields.cpp and this number";
}

std::string docs_page() {
  return test::read_text(std::filesystem::path(MIDFILL_SOURCE_DIR) / "docs" / "config.md");
}

// docs/config.md holds the reference as `midfill train --keys` prints it.
TEST(Config, DocumentationIsInStep) {
  EXPECT_NE(docs_page().find(config_reference()), std::string::npos)
      << "docs/config.md: replace the tables of \"All keys\" by the output of midfill train --keys";
}

// Found by fuzzing.
TEST(Config, MessagesAreOneLineWhateverIsWritten) {
  for (const std::string& message :
       {refusal("{\"\\n\\u0085\": 1}"), refusal("{\"model\": {\"\\u007f\": 1}}"),
        refusal("{\"seed\": \"\x7f\"}"), refusal("{}", {"a\nb"}), refusal("{}", {"seed=\n"}),
        refusal("{}", {"\x1b=1"}), refusal("{}", {"model=\n"})}) {
    EXPECT_THAT(message, testing::Not(testing::ContainsRegex("[\x01-\x1f\x7f]")));
    EXPECT_FALSE(message.empty());
  }
  EXPECT_LT(refusal("{}", {std::string(100000, 'x')}).size(), 400u);
}

// Every configuration that ships is valid, and the documentation names it.
TEST(Config, ShippedConfigurationsAreValid) {
  const auto root = std::filesystem::path(MIDFILL_SOURCE_DIR);
  const std::string page = docs_page();
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "configs")) {
    if (!entry.is_regular_file()) continue;
    ++files;
    load_config(entry.path());
    const auto name = std::filesystem::relative(entry.path(), root).string();
    EXPECT_NE(page.find("`" + name + "`"), std::string::npos) << name;
  }
  EXPECT_GE(files, 12);
}

}  // namespace
}  // namespace midfill
