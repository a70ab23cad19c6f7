// Broken and unusual Hugging Face directories. That good ones mean the same to transformers is
// proved by tests/parity.
#include "src/checkpoint/hugging_face.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/model_source.h"
#include "src/checkpoint/run_directory.h"
#include "src/checkpoint/safetensors.h"
#include "src/io/json.h"
#include "tests/checkpoint/tiny_model.h"
#include "tests/checkpoint/tiny_tokenizer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TinyModel;
using testing::HasSubstr;

ModelConfig unpadded() {
  ModelConfig config = test::tiny_config();
  config.vocab_multiple = 1;
  return config;
}

Json good_config() {
  return {{"architectures", {"GPTNeoXForCausalLM"}},
          {"model_type", "gpt_neox"},
          {"vocab_size", 13},
          {"hidden_size", 8},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"intermediate_size", 20},
          {"max_position_embeddings", 8},
          {"rotary_pct", 1.0},
          {"hidden_act", "gelu_new"},
          {"use_parallel_residual", false}};
}

class HuggingFace : public testing::Test {
 protected:
  HuggingFace() {
    tiny_.fill(1);
    write_config(good_config());
  }
  void write_config(const Json& json) { test::write_text(directory_ / "config.json", json.dump()); }
  std::string config_refused(const char* key, const Json& value) {
    Json json = good_config();
    json[key] = value;
    write_config(json);
    const std::string error = error_of([&] { read_hf_config(directory_.path()); });
    EXPECT_THAT(error, HasSubstr("config.json"));
    return error;
  }
  std::vector<SafetensorsEntry> entries() const {
    std::vector<SafetensorsEntry> all;
    for (const Parameter& p : tiny_.model.table().all())
      all.push_back(SafetensorsEntry::of(p.name, tiny_.model.param(p.name), p.shape));
    return all;
  }
  void write(const std::string& name, const std::vector<SafetensorsEntry>& all) {
    write_safetensors(directory_ / name, all, {}, AtomicFile::Existing::replace);
  }
  // The error of loading `all` as the model's weights.
  std::string refused(const std::vector<SafetensorsEntry>& all) {
    write("model.safetensors", all);
    return error_of([&] { load_hf_weights(directory_.path(), loaded_.model); });
  }

  test::TemporaryDirectory directory_;
  TinyModel tiny_{unpadded()}, loaded_{unpadded()};
};

TEST_F(HuggingFace, ReadsConfigurations) {
  ModelConfig config = read_hf_config(directory_.path());
  EXPECT_EQ(config.vocab_size, 13);
  EXPECT_EQ(config.d_ff, 20);
  EXPECT_EQ(config.activation, Activation::gelu_tanh);
  EXPECT_FALSE(config.parallel_residual);
  EXPECT_FALSE(config.tied_embeddings);

  Json json = good_config();
  for (const char* key : {"hidden_act", "use_parallel_residual"}) json.erase(key);
  json["rotary_pct"] = 0.5;
  json["rotary_emb_base"] = 500;
  json["tie_word_embeddings"] = true;
  json["layer_norm_eps"] = 1e-6;
  write_config(json);
  config = read_hf_config(directory_.path());
  EXPECT_EQ(config.activation, Activation::gelu_erf);  // transformers' defaults
  EXPECT_TRUE(config.parallel_residual);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.rotary_pct, 0.5);
  EXPECT_EQ(config.rotary_base, 500);
  EXPECT_EQ(config.layer_norm_eps, 1e-6);

  json.erase("rotary_pct");
  json.erase("rotary_emb_base");
  json["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 900.0}, {"partial_rotary_factor", 1.0}};
  write_config(json);
  config = read_hf_config(directory_.path());
  EXPECT_EQ(config.rotary_pct, 1.0);
  EXPECT_EQ(config.rotary_base, 900);
}

TEST_F(HuggingFace, RefusesConfigurations) {
  EXPECT_THAT(config_refused("model_type", "llama"), HasSubstr("expected \"gpt_neox\""));
  EXPECT_THAT(config_refused("model_type", nullptr), HasSubstr("is null"));
  EXPECT_THAT(config_refused("attention_bias", false), HasSubstr("expected true"));
  EXPECT_THAT(config_refused("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}),
              HasSubstr("expected unscaled positions"));
  EXPECT_THAT(config_refused("hidden_act", "relu"), HasSubstr("\"hidden_act\" is \"relu\""));
  EXPECT_THAT(config_refused("hidden_act", 3), HasSubstr("expected a string"));
  EXPECT_THAT(config_refused("num_attention_heads", 3), HasSubstr("does not divide"));
  EXPECT_THAT(config_refused("rotary_pct", 0.9), HasSubstr("turns 3 of 4 dims"));
  EXPECT_THAT(config_refused("rotary_pct", 0.1), HasSubstr("turns 0 of 4 dims"));
  EXPECT_THAT(config_refused("rotary_pct", 2),
              HasSubstr("\"rotary_pct\" is 2, expected a number in (0, 1]"));
  EXPECT_THAT(config_refused("rotary_emb_base", -1),
              HasSubstr("\"rotary_emb_base\" is -1, expected a number > 1"));
  EXPECT_THAT(config_refused("rotary_emb_base", "x"), HasSubstr("expected a number"));
  // Nothing that a run could not have, and nothing that is 0 or infinite as f32.
  for (const Json& bad : {Json(0), Json(-1e-5), Json(1e-46), Json(1e39), Json("1e-5")})
    EXPECT_THAT(config_refused("layer_norm_eps", bad),
                HasSubstr("expected a number in [1.2e-38, 1]"));
  EXPECT_THAT(config_refused("vocab_size", 0), HasSubstr("\"vocab_size\" is 0"));
  EXPECT_THAT(config_refused("num_hidden_layers", 2000),
              HasSubstr("expected an integer in 1..1024"));
  EXPECT_THAT(config_refused("tie_word_embeddings", 1), HasSubstr("expected true or false"));
  for (const Json& bad :
       {Json(nullptr), Json(0), Json(-3), Json(2.5), Json("8"), Json(uint64_t{1} << 63)})
    EXPECT_THAT(config_refused("hidden_size", bad), HasSubstr("\"hidden_size\"")) << bad;
  test::write_text(directory_ / "config.json", "[1]");
  EXPECT_THAT(error_of([&] { read_hf_config(directory_.path()); }),
              HasSubstr("expected an object"));
  test::write_text(directory_ / "config.json", "{}");
  EXPECT_THAT(error_of([&] { read_hf_config(directory_.path()); }), HasSubstr("is absent"));
  fs::remove(directory_ / "config.json");
  EXPECT_THAT(error_of([&] { read_hf_config(directory_.path()); }), HasSubstr("cannot open"));
}

TEST_F(HuggingFace, LoadsOneFileOrShards) {
  const auto all = entries();
  write("model.safetensors", all);
  load_hf_weights(directory_.path(), loaded_.model);
  const auto same = [&] {
    const auto a = tiny_.contents(), b = loaded_.contents();
    return std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(a.size() / 3), b.begin());
  };
  EXPECT_TRUE(same());

  fs::remove(directory_ / "model.safetensors");
  loaded_.fill(2);
  const std::vector<SafetensorsEntry> first(all.begin(), all.begin() + 5),
      second(all.begin() + 5, all.end());
  write("model-00001-of-00002.safetensors", first);
  write("model-00002-of-00002.safetensors", second);
  Json map = Json::object();
  for (const auto& entry : first) map[entry.name] = "model-00001-of-00002.safetensors";
  for (const auto& entry : second) map[entry.name] = "model-00002-of-00002.safetensors";
  const auto index = [&] {
    test::write_text(directory_ / "model.safetensors.index.json",
                     Json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
  };
  index();
  EXPECT_TRUE(is_hf_directory(directory_.path()));
  load_hf_weights(directory_.path(), loaded_.model);
  EXPECT_TRUE(same());

  for (const char* bad : {"../model-00001-of-00002.safetensors", "/etc/passwd", "..", ".", ""}) {
    map["embed_out.weight"] = bad;
    index();
    EXPECT_THAT(error_of([&] { load_hf_weights(directory_.path(), loaded_.model); }),
                HasSubstr("expected a file name without a directory"))
        << bad;
  }
  map["embed_out.weight"] = "absent.safetensors";
  index();
  EXPECT_THAT(error_of([&] { load_hf_weights(directory_.path(), loaded_.model); }),
              HasSubstr("absent.safetensors: cannot open"));
  map["embed_out.weight"] = "model-00002-of-00002.safetensors";
  index();
  write("model-00002-of-00002.safetensors", all);
  EXPECT_THAT(error_of([&] { load_hf_weights(directory_.path(), loaded_.model); }),
              HasSubstr("stands in another shard too"));
  test::write_text(directory_ / "model.safetensors.index.json", "{\"weight_map\":[]}");
  EXPECT_THAT(error_of([&] { load_hf_weights(directory_.path(), loaded_.model); }),
              HasSubstr("no object \"weight_map\""));
}

TEST_F(HuggingFace, PicklesAreRefusedByName) {
  test::write_text(directory_ / "pytorch_model.bin", "x");
  EXPECT_THAT(error_of([&] { WeightsSource::open(directory_.path()).load_weights(loaded_.model); }),
              HasSubstr("pytorch_model.bin is not read"));
}

TEST_F(HuggingFace, IgnoresOldBuffersAndNothingElse) {
  auto all = entries();
  const std::vector<float> buffer(8);
  const auto bytes = std::as_bytes(std::span(buffer));
  const auto and_this = [&](const char* name) {
    auto more = all;
    more.push_back({name, "F32", {8}, bytes});
    return more;
  };
  for (const char* old :
       {"gpt_neox.layers.0.attention.bias", "gpt_neox.layers.1.attention.masked_bias",
        "gpt_neox.layers.1.attention.rotary_emb.inv_freq"}) {
    write("model.safetensors", and_this(old));
    load_hf_weights(directory_.path(), loaded_.model);
  }
  EXPECT_THAT(refused(and_this("gpt_neox.layers.2.mlp.bias")),
              HasSubstr("\"gpt_neox.layers.2.mlp.bias\" is none of a GPTNeoXForCausalLM's"));
}

TEST_F(HuggingFace, RefusesWrongTensors) {
  auto all = entries();
  all.erase(all.begin() + 3);
  EXPECT_THAT(refused(all), HasSubstr("no tensor \"" + entries()[3].name + "\""));
  all = entries();
  for (auto& entry : all)
    if (entry.name == "gpt_neox.layers.0.mlp.dense_h_to_4h.weight") entry.shape = {8, 20};
  EXPECT_THAT(refused(all), HasSubstr("has shape (8, 20), expected (20, 8)"));
  all = entries();
  all[0].dtype = "I32";
  EXPECT_THAT(refused(all), HasSubstr("dtype I32, expected F32, F64, F16 or BF16"));
  all = entries();
  tiny_.model.param(all[5].name).as<float>()[2] = NAN;
  EXPECT_THAT(refused(all), HasSubstr("holds nan at element 2"));
}

TEST_F(HuggingFace, NewVocabularyRowsAreLikeTheOthers) {
  write("model.safetensors", entries());
  ModelConfig grown = unpadded();
  grown.vocab_size = 16;
  grown.vocab_multiple = 10;  // 20 rows
  TinyModel a(grown), b(grown);
  load_hf_weights(directory_.path(), a.model);
  load_hf_weights(directory_.path(), b.model);
  for (const char* name : {"gpt_neox.embed_in.weight", "embed_out.weight"}) {
    const Tensor matrix = a.model.param(name), old = tiny_.model.param(name);
    const float* rows = matrix.as<float>();
    EXPECT_TRUE(std::equal(old.as<float>(), old.as<float>() + 13 * 8, rows));
    for (int64_t c = 0; c < 8; ++c) {
      double mean = 0;
      for (int64_t r = 0; r < 13; ++r) mean += old.as<float>()[r * 8 + c] / 13;
      for (int64_t r = 13; r < 16; ++r) EXPECT_LT(std::abs(rows[r * 8 + c] - mean), 0.1);
      for (int64_t r = 16; r < 20; ++r) EXPECT_EQ(rows[r * 8 + c], 0.0f);  // padding
    }
    EXPECT_FALSE(std::equal(rows + 13 * 8, rows + 14 * 8, rows + 14 * 8));
    EXPECT_TRUE(std::equal(rows, rows + 20 * 8, b.model.param(name).as<float>()));
  }
  TinyModel smaller([] {
    ModelConfig config = unpadded();
    config.vocab_size = 12;
    return config;
  }());
  EXPECT_THAT(error_of([&] { load_hf_weights(directory_.path(), smaller.model); }),
              HasSubstr("13 vocabulary rows, expected at most 12"));
}

TEST_F(HuggingFace, ExportReadsBack) {
  ModelConfig config = test::tiny_config();
  const Tokenizer tokenizer = test::tiny_tokenizer();
  config.vocab_size = tokenizer.vocab_size();
  config.vocab_multiple = 7;
  config.rotary_pct = 0.5;
  config.parallel_residual = true;
  config.activation = Activation::gelu_erf;
  config.layer_norm_eps = 1e-6;
  config.rotary_base = 1234.5;
  TinyModel original(config);
  original.fill(6);
  const fs::path out = directory_ / "out";
  export_hf(out, original.model, tokenizer);
  EXPECT_THAT(error_of([&] { export_hf(out, original.model, tokenizer); }),
              HasSubstr("refusing to overwrite"));
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "generation_config.json"})
    EXPECT_NO_THROW(parse_json(test::read_text(out / file), file));

  ModelSource source = ModelSource::open(out);
  EXPECT_EQ(source.kind, WeightsSource::Kind::hugging_face);
  EXPECT_EQ(source.model.vocab_size, config.vocab_size);
  EXPECT_EQ(source.model.padded_vocab(), config.vocab_size) << "padded rows were exported";
  EXPECT_EQ(source.model.rotary_pct, config.rotary_pct);
  EXPECT_EQ(source.model.rotary_base, config.rotary_base);
  EXPECT_EQ(source.model.layer_norm_eps, config.layer_norm_eps);
  EXPECT_EQ(source.model.activation, config.activation);
  EXPECT_EQ(source.model.parallel_residual, config.parallel_residual);
  EXPECT_EQ(source.tokenizer.vocab_size(), tokenizer.vocab_size());
  EXPECT_EQ(source.tokenizer.sentinels().mid, tokenizer.sentinels().mid);
  TinyModel back(source.model);
  source.load_weights(back.model);
  for (const Parameter& p : back.model.table().all()) {
    const float* a = original.model.param(p.name).as<float>();
    EXPECT_TRUE(std::equal(a, a + p.numel, back.model.param(p.name).as<float>())) << p.name;
  }
}

TEST_F(HuggingFace, ModelSourceSaysWhatIsMissing) {
  EXPECT_THAT(error_of([&] { ModelSource::open(directory_ / "absent"); }),
              HasSubstr("no such directory"));
  const fs::path run = directory_ / "run";
  fs::create_directory(run);
  EXPECT_THAT(error_of([&] { ModelSource::open(run); }), HasSubstr("neither a run"));

  Config config;
  config.model = test::tiny_config();
  const Tokenizer tokenizer = test::tiny_tokenizer();
  config.model.vocab_size = tokenizer.vocab_size();
  create_run(run, config, tokenizer);
  EXPECT_THAT(error_of([&] { create_run(run, config, tokenizer); }),
              HasSubstr("already holds a run"));
  EXPECT_THAT(error_of([&] { ModelSource::open(run); }), HasSubstr("has no checkpoint yet"));
  EXPECT_EQ(to_json(read_run_config(run)), to_json(config));

  TinyModel model(config.model);
  model.fill(8);
  save_checkpoint(run, model.model, &model.optimizer, {});
  ModelSource source = ModelSource::open(run);
  EXPECT_EQ(source.kind, WeightsSource::Kind::run);
  TinyModel loaded(source.model);
  source.load_weights(loaded.model);
  const float* a = model.model.param("embed_out.weight").as<float>();
  EXPECT_EQ(loaded.model.param("embed_out.weight").as<float>()[5], a[5]);
  source.require_rows_for_tokenizer();
}

TEST_F(HuggingFace, RowsForSentinelsAreAskedFor) {
  write("model.safetensors", entries());  // 13 rows
  test::write_text(directory_ / "tokenizer.json", test::tiny_tokenizer().to_json());
  ModelSource source = ModelSource::open(directory_.path());
  EXPECT_EQ(source.model.vocab_size, 13);
  EXPECT_THAT(error_of([&] { source.require_rows_for_tokenizer(); }), HasSubstr("--add-sentinels"));
}

}  // namespace
}  // namespace midfill
