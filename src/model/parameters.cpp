#include "src/model/parameters.h"

#include <algorithm>
#include <cmath>

namespace midfill {

namespace {

constexpr int64_t kAlignment = 64;  // elements: 256 bytes, a cache line of every device

// Refused here and not only where a configuration file is read: shapes also come from checkpoints.
void check_shape(const ModelConfig& c) {
  const auto positive = [](int value, const char* key) {
    require(value > 0, "model.{}: expected a positive number, found {}", key, value);
  };
  positive(c.n_layers, "n_layers");
  positive(c.d_model, "d_model");
  positive(c.n_heads, "n_heads");
  positive(c.d_ff, "d_ff");
  positive(c.n_ctx, "n_ctx");
  positive(c.vocab_size, "vocab_size");
  positive(c.vocab_multiple, "vocab_multiple");
  require(c.d_model % c.n_heads == 0, "model.n_heads {} does not divide model.d_model {}",
          c.n_heads, c.d_model);
  require(c.rotary_pct >= 0.0 && c.rotary_pct <= 1.0,
          "model.rotary_pct: expected a number from 0 to 1, found {}", c.rotary_pct);
}

// Standard deviations of the initial weights. GPT-NeoX: small_init (Nguyen, Salazar, "Transformers
// without tears", 2019) everywhere but in the two layers that write to the residual stream, which
// have wang_init (Wang, Komatsuzaki, "GPT-J-6B", 2021).
struct InitStd {
  double inner, output;
  explicit InitStd(const ModelConfig& c) {
    const double d = c.d_model;
    inner = c.init == Init::neox ? std::sqrt(2.0 / (5.0 * d)) : 0.02;
    output = c.init == Init::neox ? 2.0 / (c.n_layers * std::sqrt(d)) : 0.02;
  }
};

}  // namespace

Tensor view_of(const Parameter& parameter, const Tensor& arena) {
  auto* data = static_cast<char*>(arena.data()) + parameter.offset * size_of(arena.dtype());
  return Tensor(data, arena.dtype(), parameter.shape);
}

ParameterTable::ParameterTable(const ModelConfig& config) {
  check_shape(config);
  const int64_t C = config.d_model, F = config.d_ff, Vp = config.padded_vocab();
  const InitStd std(config);

  const auto add = [&](std::string name, int layer, std::vector<int64_t> shape, double mean,
                       double deviation) {
    int64_t numel = 1;
    for (const int64_t dim : shape) numel *= dim;
    const bool matrix = shape.size() == 2;
    parameters_.push_back({.name = std::move(name),
                           .shape = std::move(shape),
                           .layer = layer,
                           .decayed = matrix,
                           .init_mean = mean,
                           .init_std = deviation,
                           .offset = arena_numel_,
                           .numel = numel});
    arena_numel_ += (numel + kAlignment - 1) / kAlignment * kAlignment;
  };
  const auto norm = [&](const std::string& name, int layer) {
    add(name + ".weight", layer, {C}, 1.0, 0.0);
    add(name + ".bias", layer, {C}, 0.0, 0.0);
  };
  const auto linear = [&](const std::string& name, int layer, int64_t out, int64_t in,
                          double deviation) {
    add(name + ".weight", layer, {out, in}, 0.0, deviation);
    add(name + ".bias", layer, {out}, 0.0, 0.0);
  };

  add("gpt_neox.embed_in.weight", -1, {Vp, C}, 0.0, std.inner);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = fmt::format("gpt_neox.layers.{}.", layer);
    norm(prefix + "input_layernorm", layer);
    linear(prefix + "attention.query_key_value", layer, 3 * C, C, std.inner);
    linear(prefix + "attention.dense", layer, C, C, std.output);
    norm(prefix + "post_attention_layernorm", layer);
    linear(prefix + "mlp.dense_h_to_4h", layer, F, C, std.inner);
    linear(prefix + "mlp.dense_4h_to_h", layer, C, F, std.output);
  }
  norm("gpt_neox.final_layer_norm", -1);
  if (!config.tied_embeddings) add("embed_out.weight", -1, {Vp, C}, 0.0, std.inner);

  for (const Parameter& p : parameters_)
    if (p.decayed) matmul_count_ += p.numel;
  // The lookup of embeddings multiplies nothing; a tied table is counted for its use as the head.
  if (!config.tied_embeddings) matmul_count_ -= Vp * C;
}

const Parameter& ParameterTable::at(std::string_view name) const {
  const auto found =
      std::find_if(parameters_.begin(), parameters_.end(),
                   [&](const Parameter& parameter) { return parameter.name == name; });
  require(found != parameters_.end(), "the model has no parameter named {}", name);
  return *found;
}

int64_t ParameterTable::count() const {
  int64_t sum = 0;
  for (const Parameter& p : parameters_) sum += p.numel;
  return sum;
}

std::vector<DecaySpan> ParameterTable::decay_spans(float weight_decay) const {
  std::vector<DecaySpan> spans;
  for (const Parameter& p : parameters_)
    spans.push_back({.begin = p.offset,
                     .end = p.offset + p.numel,
                     .weight_decay = p.decayed ? weight_decay : 0.0f});
  return spans;
}

FlopsPerToken flops_per_token(const ModelConfig& config) {
  const auto n = static_cast<double>(ParameterTable(config).matmul_count());
  const double ldt = double{1} * config.n_layers * config.d_model * config.n_ctx;
  return {.causal = 6 * n + 6 * ldt, .full = 6 * n + 12 * ldt};
}

}  // namespace midfill
