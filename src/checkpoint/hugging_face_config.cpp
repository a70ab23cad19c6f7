// config.json of a Hugging Face directory -> ModelConfig.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include "kernels/common/check.h"
#include "src/checkpoint/hugging_face.h"
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

// Typed access to one JSON object; a missing key has the default of transformers' GPTNeoXConfig, a
// key without default must be there.
class Reader {
 public:
  Reader(const Json& json, std::string origin) : json_(json), origin_(std::move(origin)) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }

  int integer(const char* key) const {
    require(has(key), "{}: no key \"{}\"", origin_, key);
    const Json& value = json_[key];
    require(value.is_number_unsigned() && value.get<uint64_t>() > 0 &&
                value.get<uint64_t>() <= uint64_t{1} << 30,
            "{}: \"{}\" is {}, expected a whole number from 1", origin_, key, text(key));
    return value.get<int>();
  }
  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const bool good = json_[key].is_number() && std::isfinite(json_[key].get<double>());
    require(good, "{}: \"{}\" is {}, expected a number", origin_, key, text(key));
    return json_[key].get<double>();
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
// rope_theta and partial_rotary_factor; rope_parameters with these.
void read_rotary(const Json& json, const Reader& top, ModelConfig& config) {
  config.rotary_base = top.number("rotary_emb_base", top.number("rope_theta", 10000.0));
  config.rotary_pct = top.number("rotary_pct", top.number("partial_rotary_factor", 0.25));
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!top.has(key)) continue;
    require(json[key].is_object(), "{}: \"{}\" is {}, expected an object or null", top.origin(),
            key, top.text(key));
    const Reader rope(json[key], fmt::format("{}: {}", top.origin(), key));
    const std::string type = rope.word("rope_type", rope.word("type", "default").c_str());
    require(type == "default", "{}: \"{}\" is {}, expected unscaled positions", top.origin(), key,
            top.text(key));
    config.rotary_base = rope.number("rope_theta", config.rotary_base);
    config.rotary_pct = rope.number("partial_rotary_factor", config.rotary_pct);
  }
  require(config.rotary_base > 0, "{}: rotary base {}, expected above 0", top.origin(),
          config.rotary_base);
  require(config.rotary_pct > 0 && config.rotary_pct <= 1,
          "{}: \"rotary_pct\" is {}, expected above 0 and at most 1", top.origin(),
          config.rotary_pct);
}

}  // namespace

bool is_hf_directory(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(directory / "config.json", ignored) &&
         std::ranges::any_of(
             kWeightFiles, [&](const char* name) { return fs::exists(directory / name, ignored); });
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

  ModelConfig config;
  config.n_layers = read.integer("num_hidden_layers");
  config.d_model = read.integer("hidden_size");
  config.n_heads = read.integer("num_attention_heads");
  config.d_ff = read.integer("intermediate_size");
  config.n_ctx = read.integer("max_position_embeddings");
  config.vocab_size = read.integer("vocab_size");
  config.vocab_multiple = 1;
  config.parallel_residual = read.flag("use_parallel_residual", true);
  config.tied_embeddings = read.flag("tie_word_embeddings", false);
  config.layer_norm_eps = read.number("layer_norm_eps", 1e-5);
  config.activation = activation_of(read.word("hidden_act", "gelu"), origin);
  require(config.d_model % config.n_heads == 0,
          "{}: \"num_attention_heads\" {} does not divide \"hidden_size\" {}", origin,
          config.n_heads, config.d_model);
  read_rotary(json, read, config);
  const int turned = static_cast<int>(config.head_size() * config.rotary_pct);
  require(turned > 0 && turned % 2 == 0,
          "{}: rotary_pct {} turns {} of {} dims of a head, expected an even number above 0",
          origin, config.rotary_pct, turned, config.head_size());
  return config;
}

}  // namespace midfill
