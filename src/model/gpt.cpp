#include "src/model/gpt.h"

#include "kernels/memory.h"
#include "src/model/activations.h"

namespace midfill {

namespace {

Tensor view_of(const Parameter& parameter, Tensor arena) {
  return Tensor(arena.as<float>() + parameter.offset, DType::f32, parameter.shape);
}

// The arena seen as the model's tensors. This is the one place where names meet members.
GptWeights views_of(const ParameterTable& table, const ModelConfig& config, Tensor arena) {
  const auto view = [&](std::string_view name) { return view_of(table.at(name), arena); };
  GptWeights weights;
  weights.embed = view("gpt_neox.embed_in.weight");
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const auto in_layer = [&](std::string_view name) {
      return view(fmt::format("gpt_neox.layers.{}.{}", layer, name));
    };
    weights.blocks.push_back({.ln1_w = in_layer("input_layernorm.weight"),
                              .ln1_b = in_layer("input_layernorm.bias"),
                              .qkv_w = in_layer("attention.query_key_value.weight"),
                              .qkv_b = in_layer("attention.query_key_value.bias"),
                              .out_w = in_layer("attention.dense.weight"),
                              .out_b = in_layer("attention.dense.bias"),
                              .ln2_w = in_layer("post_attention_layernorm.weight"),
                              .ln2_b = in_layer("post_attention_layernorm.bias"),
                              .up_w = in_layer("mlp.dense_h_to_4h.weight"),
                              .up_b = in_layer("mlp.dense_h_to_4h.bias"),
                              .down_w = in_layer("mlp.dense_4h_to_h.weight"),
                              .down_b = in_layer("mlp.dense_4h_to_h.bias")});
  }
  weights.lnf_w = view("gpt_neox.final_layer_norm.weight");
  weights.lnf_b = view("gpt_neox.final_layer_norm.bias");
  weights.head = config.tied_embeddings ? weights.embed : view("embed_out.weight");
  return weights;
}

void check_options(const GptOptions& options) {
  require(options.max_batch > 0, "a model needs max_batch > 0, found {}", options.max_batch);
  require(options.head_chunk > 0, "a model needs head_chunk > 0, found {}", options.head_chunk);
}

int64_t rotary_table_numel(const ModelConfig& config) {
  return int64_t{1} * config.n_ctx * (config.rotary_dims() / 2);
}

}  // namespace

Gpt::Gpt(const ModelConfig& config, const GptOptions& options, Device& device)
    : config_(config), options_(options), device_(&device), table_(config) {
  check_options(options);
  const int64_t numel = table_.arena_numel();
  const size_t arena_bytes = static_cast<size_t>(numel * size_of(DType::f32));

  params_memory_ = Buffer(arena_bytes);
  params_ = Tensor(params_memory_.data(), DType::f32, {numel});
  device.run(Fill{.y = params_});
  weights_ = views_of(table_, config_, params_);
  if (options.training) {
    grads_memory_ = Buffer(arena_bytes);
    grads_ = Tensor(grads_memory_.data(), DType::f32, {numel});
    zero_grads();
    d_weights_ = views_of(table_, config_, grads_);
  }

  if (const int64_t table_numel = rotary_table_numel(config); table_numel > 0) {
    rotary_memory_ = Buffer(static_cast<size_t>(2 * table_numel * size_of(DType::f32)));
    auto* data = static_cast<float*>(rotary_memory_.data());
    const int64_t half = config.rotary_dims() / 2;
    rotary_ = {.cos = Tensor::of(data, {config.n_ctx, half}),
               .sin = Tensor::of(data + table_numel, {config.n_ctx, half})};
    device.run(RotaryTables{.cos = rotary_.cos, .sin = rotary_.sin, .base = config.rotary_base});
  }
  activations_ = std::make_shared<Activations>(config_, options_);
}

Tensor Gpt::param(std::string_view name) const {
  return view_of(table_.at(name), params_);
}

Tensor Gpt::grad(std::string_view name) const {
  require(options_.training, "gradient of {}: the model was not made for training", name);
  return view_of(table_.at(name), grads_);
}

void Gpt::zero_grads() {
  device_->run(Fill{.y = grads_});
}

std::vector<MemoryLine> Gpt::memory(const ModelConfig& config, const GptOptions& options) {
  check_options(options);
  const int64_t weights = ParameterTable(config).arena_numel() * size_of(DType::f32);
  const Activations::Bytes activations = Activations::bytes(config, options);
  std::vector<MemoryLine> lines = {{"weights", weights}};
  if (options.training) {
    lines.push_back({"gradients", weights});
    lines.push_back({"moments", 2 * weights});
  }
  lines.push_back({"activations", activations.kept});
  lines.push_back({"scratch and logits chunk", activations.scratch});
  lines.push_back({"rotary tables", 2 * rotary_table_numel(config) * size_of(DType::f32)});
  return lines;
}

std::vector<MemoryLine> Gpt::memory() const {
  return memory(config_, options_);
}

}  // namespace midfill
