// Weights and tokenizer files of a Hugging Face directory.
#include "src/checkpoint/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/common/rng.h"
#include "src/checkpoint/atomic_directory.h"
#include "src/checkpoint/safetensors.h"
#include "src/io/file.h"
#include "src/io/json.h"
#include "src/model/host_arena.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kHead = "embed_out.weight";
constexpr const char* kEmbedding = "gpt_neox.embed_in.weight";
constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr double kNewRowStd = 0.02;

// Buffers that old transformers stored beside the weights.
bool is_old_buffer(std::string_view name) {
  for (std::string_view end : {".attention.bias", ".attention.masked_bias",
                               ".attention.rotary_emb.inv_freq", "gpt_neox.rotary_emb.inv_freq"})
    if (name.ends_with(end)) return true;
  return false;
}

// The weight files: one, or the shards an index names. A shard lies in the directory itself.
std::vector<fs::path> weight_files(const fs::path& directory) {
  std::error_code ignored;
  if (fs::exists(directory / kWeights, ignored)) return {directory / kWeights};
  const std::string origin = (directory / kIndex).string();
  require(fs::exists(directory / kIndex, ignored),
          "{}: neither {} nor {} (pytorch_model.bin is not read: a pickle can run code; "
          "transformers converts it with save_pretrained(..., safe_serialization=True))",
          directory.string(), kWeights, kIndex);
  const Json index = parse_json(read_file(directory / kIndex, kMaxIndexBytes), origin);
  require(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(),
          "{}: no object \"weight_map\"", origin);
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    require(file.is_string(), "{}: the file of {} is not a string", origin, in_quotes(tensor));
    const auto name = file.get<std::string>();
    require(!name.empty() && fs::path(name).filename() == name && name != ".." && name != ".",
            "{}: {} is in {}, expected a file name without a directory", origin, in_quotes(tensor),
            in_quotes(name));
    names.insert(name);
  }
  require(!names.empty(), "{}: \"weight_map\" is empty", origin);
  std::vector<fs::path> paths;
  for (const std::string& name : names) paths.push_back(directory / name);
  return paths;
}

struct Found {
  const SafetensorsFile* file;
  const SafetensorsEntry* entry;
};

void check_finite(const Found& found, std::span<const float> values) {
  const auto bad = std::ranges::find_if(values, [](float v) { return !std::isfinite(v); });
  require(bad == values.end(), "{}: tensor {} holds {} at element {}", found.file->path().string(),
          in_quotes(found.entry->name), bad == values.end() ? 0.0f : *bad, bad - values.begin());
}

bool has_vocabulary_rows(const Parameter& parameter) {
  return parameter.name == kEmbedding || parameter.name == kHead;
}

void write_json(const fs::path& path, const Json& json) {
  write_file(path, json.dump(2) + "\n");
}

// The id of a token that the tokenizer may lack. Left out, it would be transformers' default: a
// token of another tokenizer.
Json id_or_null(TokenId id) {
  return id >= 0 ? Json(id) : Json(nullptr);
}

// transformers 4 knows rotary_pct and rotary_emb_base, 5 rope_parameters.
Json hf_config(const ModelConfig& config, const Sentinels& sentinels) {
  return {{"architectures", {"GPTNeoXForCausalLM"}},
          {"model_type", "gpt_neox"},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.d_model},
          {"num_hidden_layers", config.n_layers},
          {"num_attention_heads", config.n_heads},
          {"intermediate_size", config.d_ff},
          {"max_position_embeddings", config.n_ctx},
          {"hidden_act", config.activation == Activation::gelu_erf ? "gelu" : "gelu_pytorch_tanh"},
          {"rotary_pct", config.rotary_pct},
          {"rotary_emb_base", config.rotary_base},
          {"rope_scaling", nullptr},
          {"rope_parameters",
           {{"rope_type", "default"},
            {"rope_theta", config.rotary_base},
            {"partial_rotary_factor", config.rotary_pct}}},
          {"use_parallel_residual", config.parallel_residual},
          {"layer_norm_eps", config.layer_norm_eps},
          {"tie_word_embeddings", config.tied_embeddings},
          {"attention_bias", true},
          {"attention_dropout", 0.0},
          {"hidden_dropout", 0.0},
          {"initializer_range", 0.02},
          {"bos_token_id", id_or_null(sentinels.eod)},
          {"eos_token_id", id_or_null(sentinels.eod)},
          {"pad_token_id", id_or_null(sentinels.pad)},
          {"torch_dtype", "float32"},
          {"use_cache", true}};
}

Json special_tokens(const Tokenizer& tokenizer) {
  const Sentinels& s = tokenizer.sentinels();
  Json json = Json::object();
  const auto add = [&](const char* key, TokenId id) {
    if (id >= 0) json[key] = std::string(tokenizer.bytes_of(id));
  };
  add("bos_token", s.eod);
  add("eos_token", s.eod);
  add("unk_token", s.eod);
  add("pad_token", s.pad);
  Json fim = Json::array();
  for (TokenId id : {s.suf, s.pre, s.mid})
    if (id >= 0) fim.push_back(std::string(tokenizer.bytes_of(id)));
  if (!fim.empty()) json["additional_special_tokens"] = fim;
  return json;
}

void write_tokenizer_files(const fs::path& directory, const Tokenizer& tokenizer, int n_ctx) {
  write_file(directory / "tokenizer.json", tokenizer.to_json());
  const Json special = special_tokens(tokenizer);
  write_json(directory / "special_tokens_map.json", special);
  // The class that takes all from tokenizer.json: in transformers 5 GPTNeoXTokenizerFast makes a
  // normalizer and a pre-tokenizer of its own instead. By default transformers 4 gives
  // token_type_ids, which the model does not take, and clean_up_tokenization_spaces eats spaces of
  // decoded code.
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"model_input_names", {"input_ids", "attention_mask"}},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", n_ctx}};
  config.update(special);
  write_json(directory / "tokenizer_config.json", config);
}

}  // namespace

void load_hf_weights(const fs::path& directory, Gpt& model) {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  std::map<std::string, Found, std::less<>> tensors;
  for (const fs::path& path : weight_files(directory)) {
    files.push_back(std::make_unique<SafetensorsFile>(path));
    for (const SafetensorsEntry& entry : files.back()->entries()) {
      if (is_old_buffer(entry.name)) continue;
      const bool inserted = tensors.insert({entry.name, {files.back().get(), &entry}}).second;
      require(inserted, "{}: tensor {} stands in another shard too", path.string(),
              in_quotes(entry.name));
    }
  }

  const int64_t rows = read_hf_config(directory).vocab_size;
  require(rows <= model.config().vocab_size, "{}: {} vocabulary rows, expected at most {}",
          directory.string(), rows, model.config().vocab_size);
  HostArena weights(model.device(), model.params());
  for (const Parameter& parameter : model.table().all()) {
    const auto found = tensors.find(parameter.name);
    require(found != tensors.end(), "{}: no tensor {}", directory.string(),
            in_quotes(parameter.name));
    const auto& [file, entry] = found->second;
    std::vector<int64_t> shape = parameter.shape;
    if (has_vocabulary_rows(parameter)) shape[0] = rows;
    require(entry->shape == shape, "{}: tensor {} has shape {}, expected {}", file->path().string(),
            in_quotes(entry->name), shape_text(entry->shape), shape_text(shape));
    const Tensor target = weights.at(parameter);
    const std::span<float> values(
        target.as<float>(), static_cast<size_t>(parameter.numel / parameter.shape[0] * shape[0]));
    copy_as_f32(*entry, file->path(), values);
    check_finite(found->second, values);
    if (has_vocabulary_rows(parameter))
      add_rows(target, rows, model.config().vocab_size, parameter.name == kHead);
    tensors.erase(found);
  }
  if (model.config().tied_embeddings) tensors.erase(kHead);  // some writers store it twice
  require(tensors.empty(), "{}: tensor {} is none of a GPTNeoXForCausalLM's",
          tensors.empty() ? "" : tensors.begin()->second.file->path().string(),
          tensors.empty() ? "" : in_quotes(tensors.begin()->first));
  weights.store();
  model.refresh_compute_params();
}

void add_rows(const Tensor& matrix, int64_t rows, int64_t vocab_size, uint64_t key) {
  const int64_t C = matrix.dim(1);
  if (vocab_size <= rows) return;
  std::vector<double> mean(static_cast<size_t>(C), 0.0);
  auto* values = matrix.as<float>();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < C; ++c) mean[static_cast<size_t>(c)] += values[row * C + c];
  for (int64_t row = rows; row < vocab_size; ++row) {
    Rng rng(key, Purpose::kInit, 0, static_cast<uint64_t>(row));
    for (int64_t c = 0; c < C; ++c)
      values[row * C + c] = static_cast<float>(
          mean[static_cast<size_t>(c)] / static_cast<double>(rows) + kNewRowStd * rng.normal());
  }
}

void export_hf(const fs::path& directory, const Gpt& model, const Tokenizer& tokenizer) {
  const ModelConfig& config = model.config();
  const Sentinels& sentinels = tokenizer.sentinels();
  AtomicDirectory out(directory);
  const HostArena weights(model.device(), model.params());
  std::vector<SafetensorsEntry> entries;
  for (const Parameter& parameter : model.table().all()) {
    std::vector<int64_t> shape = parameter.shape;
    if (has_vocabulary_rows(parameter)) shape[0] = config.vocab_size;
    entries.push_back(SafetensorsEntry::of(parameter.name, weights.at(parameter), shape));
  }
  write_safetensors(out.path() / kWeights, entries, {{"format", "pt"}});

  write_json(out.path() / "config.json", hf_config(config, sentinels));
  const Json generation = {{"bos_token_id", id_or_null(sentinels.eod)},
                           {"eos_token_id", id_or_null(sentinels.eod)},
                           {"pad_token_id", id_or_null(sentinels.pad)}};
  write_json(out.path() / "generation_config.json", generation);
  write_tokenizer_files(out.path(), tokenizer, config.n_ctx);
  out.commit();
}

}  // namespace midfill
