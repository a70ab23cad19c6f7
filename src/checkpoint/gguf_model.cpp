#include "src/checkpoint/gguf_model.h"

#include <system_error>
#include <utility>

#include "kernels/common/check.h"
#include "src/checkpoint/gguf_vocabulary.h"
#include "src/io/one_line.h"
#include "src/model/host_arena.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr const char* kArchitecture = "gptneox";
constexpr int kMostLayers = 512;  // LLAMA_MAX_LAYERS

// llama_ftype
uint32_t file_type(GgufDtype dtype) {
  return dtype == GgufDtype::f32 ? 0 : dtype == GgufDtype::f16 ? 1 : 32;
}

void check_model(const ModelConfig& config, const std::string& origin) {
  require(config.activation == Activation::gelu_tanh,
          "{}: model.activation is gelu_erf, expected gelu_tanh: llama.cpp computes the tanh "
          "approximation for this architecture, whatever the file says",
          origin);
  require(config.n_layers <= kMostLayers,
          "{}: model.n_layers is {}, expected at most {}, which is llama.cpp's limit", origin,
          config.n_layers, kMostLayers);
}

GgufKeys model_keys(const ModelConfig& config, const Tokenizer& tokenizer,
                    const GgufVocabulary& vocabulary, const GgufOptions& options) {
  GgufKeys keys;
  const auto of_model = [&](const char* key, auto value) {
    keys.add(fmt::format("{}.{}", kArchitecture, key), value);
  };
  const auto size = [](int value) { return static_cast<uint32_t>(value); };
  keys.add("general.architecture", kArchitecture);
  keys.add("general.name",
           one_line(fs::absolute(options.run / "config.json").parent_path().filename().string()));
  keys.add("general.file_type", file_type(options.dtype));
  of_model("context_length", size(config.n_ctx));
  of_model("embedding_length", size(config.d_model));
  of_model("block_count", size(config.n_layers));
  of_model("feed_forward_length", size(config.d_ff));
  of_model("attention.head_count", size(config.n_heads));
  of_model("attention.layer_norm_epsilon", static_cast<float>(config.layer_norm_eps));
  of_model("rope.dimension_count", size(config.rotary_dims()));
  of_model("rope.freq_base", static_cast<float>(config.rotary_base));
  of_model("use_parallel_residual", config.parallel_residual);

  const Sentinels& sentinels = tokenizer.sentinels();
  keys.add("tokenizer.ggml.model", "gpt2");
  keys.add("tokenizer.ggml.pre", vocabulary.pre);
  keys.add("tokenizer.ggml.tokens", std::span<const std::string>(vocabulary.tokens));
  keys.add("tokenizer.ggml.token_type", std::span<const int32_t>(vocabulary.types));
  keys.add("tokenizer.ggml.merges", std::span<const std::string>(vocabulary.merges));
  // llama.cpp takes what is not said here from GPT-2, or guesses it by the tokens' names.
  keys.add("tokenizer.ggml.bos_token_id", size(sentinels.eod));
  keys.add("tokenizer.ggml.eos_token_id", size(sentinels.eod));
  keys.add("tokenizer.ggml.eot_token_id", size(sentinels.eod));
  keys.add("tokenizer.ggml.padding_token_id", size(sentinels.pad));
  keys.add("tokenizer.ggml.fim_pre_token_id", size(sentinels.pre));
  keys.add("tokenizer.ggml.fim_suf_token_id", size(sentinels.suf));
  keys.add("tokenizer.ggml.fim_mid_token_id", size(sentinels.mid));
  keys.add("tokenizer.ggml.add_bos_token", false);
  keys.add("tokenizer.ggml.add_eos_token", false);
  keys.add("tokenizer.ggml.suppress_tokens", std::span<const int32_t>(vocabulary.never_sampled));
  return keys;
}

// The tensors of a model, as views of its weights.
class Tensors {
 public:
  Tensors(const Gpt& model, const HostArena& weights, GgufDtype dtype)
      : model_(model), weights_(weights), dtype_(dtype) {
    const ModelConfig& config = model.config();
    add("token_embd", "gpt_neox.embed_in.weight", ".weight");
    for (int layer = 0; layer < config.n_layers; ++layer) {
      const std::string from = fmt::format("gpt_neox.layers.{}.", layer);
      const std::string to = fmt::format("blk.{}.", layer);
      add_pair(to + "attn_norm", from + "input_layernorm");
      add_pair(to + "attn_qkv", from + "attention.query_key_value");
      add_pair(to + "attn_output", from + "attention.dense");
      add_pair(to + "ffn_norm", from + "post_attention_layernorm");
      add_pair(to + "ffn_up", from + "mlp.dense_h_to_4h");
      add_pair(to + "ffn_down", from + "mlp.dense_4h_to_h");
    }
    add_pair("output_norm", "gpt_neox.final_layer_norm");
    add("output", config.tied_embeddings ? "gpt_neox.embed_in.weight" : "embed_out.weight",
        ".weight");
  }

  std::span<const GgufTensor> all() const { return tensors_; }

 private:
  void add_pair(const std::string& name, const std::string& from) {
    add(name, from + ".weight", ".weight");
    add(name, from + ".bias", ".bias");
  }

  void add(const std::string& name, const std::string& from, const char* ending) {
    const Parameter& parameter = model_.table().at(from);
    const ModelConfig& config = model_.config();
    GgufTensor tensor{.name = name + ending,
                      .dtype = parameter.shape.size() == 1 ? GgufDtype::f32 : dtype_,
                      .shape = parameter.shape,
                      .parts = {}};
    if (parameter.shape[0] == config.padded_vocab() && parameter.layer < 0 &&
        parameter.shape.size() == 2)
      tensor.shape[0] = config.vocab_size;
    const auto row = static_cast<size_t>(parameter.numel / parameter.shape[0]);
    const std::span<const float> all(weights_.at(parameter).as<float>(),
                                     row * static_cast<size_t>(tensor.shape[0]));
    if (from.find("query_key_value") == std::string::npos) {
      tensor.parts = {all};
    } else {
      // (head, 3, head size) -> (3, head, head size)
      const size_t heads = static_cast<size_t>(config.n_heads), part = all.size() / (3 * heads);
      for (size_t which = 0; which < 3; ++which)
        for (size_t head = 0; head < heads; ++head)
          tensor.parts.push_back(all.subspan((3 * head + which) * part, part));
    }
    tensors_.push_back(std::move(tensor));
  }

  const Gpt& model_;
  const HostArena& weights_;
  GgufDtype dtype_;
  std::vector<GgufTensor> tensors_;
};

// The layouts that clients can ask for.
enum class Layout { none, psm, spm1 };

// What training saw most of them.
Layout served_layout(const FimConfig& fim) {
  if (fim.rate == 0.0 || fim.psm + fim.spm1 == 0.0) return Layout::none;
  return fim.spm1 > fim.psm ? Layout::spm1 : Layout::psm;
}

// ollama inserts where the template has a .Suffix.
std::string modelfile(const fs::path& file, const ModelConfig& config, const Tokenizer& tokenizer,
                      Layout layout) {
  const auto text = [&](TokenId id) { return std::string(tokenizer.bytes_of(id)); };
  const Sentinels& ids = tokenizer.sentinels();
  const std::string prefix = text(ids.pre) + "{{ .Prompt }}",
                    suffix = text(ids.suf) + "{{ .Suffix }}";
  std::string prompt = "{{ .Prompt }}";
  if (layout != Layout::none)
    prompt = "{{- if .Suffix }}" + (layout == Layout::psm ? prefix + suffix : suffix + prefix) +
             text(ids.mid) + "{{- else }}" + prompt + "{{- end }}";
  return fmt::format("FROM ./{}\nPARAMETER num_ctx {}\nTEMPLATE \"\"\"{}\"\"\"\n",
                     file.filename().string(), config.n_ctx, prompt);
}

// By the run's configuration: what an imported model saw before is not known.
std::string how_to_serve(const fs::path& file, const FimConfig& fim, Layout layout) {
  const std::string name = one_line(file.string());
  switch (layout) {
    case Layout::psm:
      return "the run trains on psm: serve it with llama-server -m " + name;
    case Layout::spm1:
      return "the run trains on spm1: serve it with llama-server --spm-infill -m " + name;
    case Layout::none:
      break;
  }
  if (fim.rate == 0.0) return "the run trains without FIM: /infill asks for what it never shows";
  return "the run trains on spm2 alone, a layout that no client can ask for: /infill builds psm "
         "or, "
         "with --spm-infill, spm1, which it never shows";
}

}  // namespace

fs::path modelfile_path(const fs::path& file) {
  return fs::path(file) += ".Modelfile";
}

std::vector<std::string> export_gguf(const fs::path& file, const Gpt& model,
                                     const Tokenizer& tokenizer, const GgufOptions& options) {
  const ModelConfig& config = model.config();
  const std::string name = file.filename().string();
  require(!name.empty(), "{}: a folder, expected the name of a file", file.string());
  require(one_line(name, name.size()) == name && !name.ends_with(' '),
          "{}: a name that a Modelfile cannot hold, expected text that does not end in a space",
          in_quotes(file.string()));
  check_model(config, (options.run / "config.json").string());
  GgufVocabulary vocabulary =
      gguf_vocabulary(tokenizer, config.vocab_size, (options.run / "tokenizer.json").string());
  const Layout layout = served_layout(options.fim);
  const HostArena weights(model.device(), model.params());
  AtomicFile gguf(file), ollama(modelfile_path(file));
  write_gguf(gguf, file, model_keys(config, tokenizer, vocabulary, options),
             Tensors(model, weights, options.dtype).all());
  ollama.write(modelfile(file, config, tokenizer, layout));
  gguf.commit();
  try {
    ollama.commit();
  } catch (...) {
    std::error_code ignored;
    fs::remove(file, ignored);
    throw;
  }
  std::vector<std::string> notes = std::move(vocabulary.lost);
  notes.push_back(how_to_serve(file, options.fim, layout));
  return notes;
}

}  // namespace midfill
