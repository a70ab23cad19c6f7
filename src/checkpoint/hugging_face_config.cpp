// config.json of a Hugging Face directory -> ModelConfig; which token of its tokenizer ends
// documents.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/common/check.h"
#include "src/checkpoint/hugging_face.h"
#include "src/config/value.h"
#include "src/io/file.h"
#include "src/io/json.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

// What tells such a directory from a run, which has a config.json too. The last two are known only
// to be refused by name.
constexpr std::array kWeightFiles = {"model.safetensors", "model.safetensors.index.json",
                                     "pytorch_model.bin", "pytorch_model.bin.index.json"};

// Typed access to one JSON object. A missing key leaves what the configuration has.
class Reader {
 public:
  Reader(const Json& json, std::string origin) : json_(json), origin_(std::move(origin)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  void require_key(const char* key) const { require(has(key), "{}: no key \"{}\"", origin_, key); }

  // What stands under `key` becomes the value of the configuration's key `to`, which says what it
  // takes: an imported model is one that a run can have.
  void copy(const char* key, const char* to, Config& config) const {
    if (!has(key)) return;
    const auto expected = set_value(config, to, json_[key]);
    require(!expected, "{}: \"{}\" is {}, expected {}", origin_, key, text(key),
            expected.value_or(""));
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    require(json_[key].is_boolean(), "{}: \"{}\" is {}, expected true or false", origin_, key,
            text(key));
    return json_[key].get<bool>();
  }
  std::string word(const char* key, const char* otherwise) const {
    if (!has(key)) return otherwise;
    require(json_[key].is_string(), "{}: \"{}\" is {}, expected a string", origin_, key, text(key));
    return json_[key].get<std::string>();
  }
  // The value as it stands, for messages.
  std::string text(const char* key) const {
    if (!json_.contains(key)) return "absent";
    return json_[key].dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 80);
  }
  const std::string& origin() const { return origin_; }

 private:
  const Json& json_;
  std::string origin_;
};

Activation activation_of(const std::string& name, const std::string& origin) {
  for (std::string_view erf : {"gelu", "gelu_python"})
    if (name == erf) return Activation::gelu_erf;
  for (std::string_view tanh : {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"})
    if (name == tanh) return Activation::gelu_tanh;
  fail(
      "{}: \"hidden_act\" is \"{}\", expected gelu (erf) or gelu_pytorch_tanh, gelu_new, gelu_fast",
      origin, name.substr(0, 80));
}

// The base and share of rotary dims, by their names of all times: rotary_emb_base and rotary_pct;
// rope_theta and partial_rotary_factor; rope_parameters with these. Of several the last counts.
void read_rotary(const Json& json, const Reader& top, Config& config) {
  constexpr const char *kBase = "model.rotary_base", *kShare = "model.rotary_pct";
  top.copy("rope_theta", kBase, config);
  top.copy("rotary_emb_base", kBase, config);
  top.copy("partial_rotary_factor", kShare, config);
  top.copy("rotary_pct", kShare, config);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!top.has(key)) continue;
    require(json[key].is_object(), "{}: \"{}\" is {}, expected an object or null", top.origin(),
            key, top.text(key));
    const Reader rope(json[key], fmt::format("{}: {}", top.origin(), key));
    const std::string type = rope.word("rope_type", rope.word("type", "default").c_str());
    require(type == "default", "{}: \"{}\" is {}, expected unscaled positions", top.origin(), key,
            top.text(key));
    rope.copy("rope_theta", kBase, config);
    rope.copy("partial_rotary_factor", kShare, config);
  }
}

}  // namespace

bool is_hf_directory(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(directory / "config.json", ignored) &&
         std::ranges::any_of(
             kWeightFiles, [&](const char* name) { return fs::exists(directory / name, ignored); });
}

Tokenizer load_hf_tokenizer(const fs::path& directory) {
  Tokenizer tokenizer = Tokenizer::load(directory / "tokenizer.json");
  const fs::path path = directory / "tokenizer_config.json";
  std::error_code ignored;
  if (tokenizer.sentinels().eod >= 0 || !fs::exists(path, ignored)) return tokenizer;
  const Json json = parse_json(read_file(path, kMaxConfigBytes), path.string());
  require(json.is_object(), "{}: expected an object", path.string());
  Json eos = json.value("eos_token", Json());
  if (eos.is_object()) eos = eos.value("content", Json());  // an added token with its rules
  if (!eos.is_string()) return tokenizer;
  return Tokenizer::load(directory / "tokenizer.json", eos.get<std::string>());
}

ModelConfig read_hf_config(const fs::path& directory) {
  const std::string origin = (directory / "config.json").string();
  const Json json = parse_json(read_file(directory / "config.json", kMaxConfigBytes), origin);
  require(json.is_object(), "{}: expected an object", origin);
  const Reader read(json, origin);
  require(read.word("model_type", "") == "gpt_neox",
          "{}: \"model_type\" is {}, expected \"gpt_neox\" (GPTNeoXForCausalLM)", origin,
          read.text("model_type"));
  require(read.flag("attention_bias", true),
          "{}: \"attention_bias\" is false, expected true: midfill's attention has biases", origin);

  Config config;
  ModelConfig& model = config.model;
  constexpr std::pair<const char*, const char*> kSizes[] = {
      {"num_hidden_layers", "model.n_layers"},    {"hidden_size", "model.d_model"},
      {"num_attention_heads", "model.n_heads"},   {"intermediate_size", "model.d_ff"},
      {"max_position_embeddings", "model.n_ctx"}, {"vocab_size", "model.vocab_size"}};
  for (const auto& [key, to] : kSizes) {
    read.require_key(key);
    read.copy(key, to, config);
  }
  require(model.vocab_size > 0, "{}: \"vocab_size\" is 0, expected at least 1", origin);
  // What is missing is as in transformers' GPTNeoXConfig.
  model.parallel_residual = true;
  model.rotary_pct = 0.25;
  read.copy("use_parallel_residual", "model.parallel_residual", config);
  read.copy("tie_word_embeddings", "model.tied_embeddings", config);
  read.copy("layer_norm_eps", "model.layer_norm_eps", config);
  model.activation = activation_of(read.word("hidden_act", "gelu"), origin);
  require(model.d_model % model.n_heads == 0,
          "{}: \"num_attention_heads\" {} does not divide \"hidden_size\" {}", origin,
          model.n_heads, model.d_model);
  read_rotary(json, read, config);
  const int turned = static_cast<int>(model.head_size() * model.rotary_pct);
  require(turned > 0 && turned % 2 == 0,
          "{}: rotary_pct {} turns {} of {} dims of a head, expected an even number above 0",
          origin, model.rotary_pct, turned, model.head_size());
  return model;
}

}  // namespace midfill
