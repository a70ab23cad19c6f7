#include "src/model/gpt.h"

#include "kernels/memory.h"
#include "src/model/activations.h"
#include "src/model/host_arena.h"

namespace midfill {

namespace {

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

// What the kernels of `cuda` take. Said here once, by the key to change, before anything runs.
void check_cuda_shape(const ModelConfig& c, DType dtype) {
  const auto multiple_of_8 = [](int value, std::string_view key) {
    require(value % 8 == 0, "{} is {}, expected a multiple of 8 on the device cuda", key, value);
  };
  multiple_of_8(c.d_model, "model.d_model");
  multiple_of_8(c.d_ff, "model.d_ff");
  require(c.padded_vocab() % 8 == 0,
          "model.vocab_size {} is padded to {} rows, expected a multiple of 8 on the device cuda: "
          "set model.vocab_multiple to 64",
          c.vocab_size, c.padded_vocab());
  const int head = c.head_size();
  const bool taken =
      dtype == DType::f32 ? head % 8 == 0 && head <= 128 : head % 32 == 0 && head <= 128;
  require(
      taken,
      "model.d_model {} over model.n_heads {} gives heads of {}, expected {} on the device cuda",
      c.d_model, c.n_heads, head,
      dtype == DType::f32 ? "a multiple of 8 up to 128" : "32, 64, 96 or 128");
}

void check_device(const ModelConfig& config, const GptOptions& options, const Device& device) {
  if (device.is_cuda())
    check_cuda_shape(config, options.dtype);
  else
    require(
        options.dtype == DType::f32,
        "dtype is {}, expected f32 on the device cpu (train.dtype or --dtype), or --device cuda",
        name_of(options.dtype));
}

// An upper bound of what the ops of a micro-step take in Cuda::workspace() with the largest batch:
// matrix products 32 MiB; attention two tensors as large as x, with statistics and sums; the others
// less.
int64_t op_workspace_bytes(const ModelConfig& config, const GptOptions& options) {
  const int64_t N = int64_t{options.max_batch} * config.n_ctx;
  return (int64_t{32} << 20) + 3 * N * config.d_model * size_of(options.dtype);
}

int64_t rotary_table_numel(const ModelConfig& config) {
  return int64_t{1} * config.n_ctx * (config.rotary_dims() / 2);
}

}  // namespace

Gpt::Gpt(const ModelConfig& config, const GptOptions& options, Device& device)
    : config_(config), options_(options), device_(&device), table_(config) {
  check_options(options);
  check_device(config, options, device);
  const int64_t numel = table_.arena_numel();
  const auto arena = [&](Buffer& memory, DType dtype) {
    memory = device.allocate(static_cast<size_t>(numel * size_of(dtype)));
    return Tensor(memory.data(), dtype, {numel});
  };

  params_ = arena(params_memory_, DType::f32);
  device.run(Fill{.y = params_});
  compute_params_ = options.dtype == DType::f32 ? params_ : arena(compute_memory_, options.dtype);
  refresh_compute_params();
  weights_ = views_of(table_, config_, compute_params_);

  activations_ = std::make_shared<Activations>(config_, options_, device);
  if (options.training) {
    grads_ = arena(grads_memory_, DType::f32);
    zero_grads();
    d_weights_ = views_of(table_, config_, grads_);
  }

  if (const int64_t table_numel = rotary_table_numel(config); table_numel > 0) {
    rotary_memory_ = device.allocate(static_cast<size_t>(2 * table_numel * size_of(DType::f32)));
    auto* data = static_cast<float*>(rotary_memory_.data());
    const int64_t half = config.rotary_dims() / 2;
    rotary_ = {.cos = Tensor::of(data, {config.n_ctx, half}),
               .sin = Tensor::of(data + table_numel, {config.n_ctx, half})};
    device.run(RotaryTables{.cos = rotary_.cos, .sin = rotary_.sin, .base = config.rotary_base});
  }
  for (int layer = 0; layer < config.n_layers; ++layer) {
    forward_names_.push_back(fmt::format("layer {} forward", layer));
    backward_names_.push_back(fmt::format("layer {} backward", layer));
  }
}

void Gpt::refresh_compute_params() {
  if (options_.dtype != DType::f32) device_->run(Cast{.y = compute_params_, .x = params_});
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
  // All bits of zero are zero in both dtypes.
  device_->run(Fill{.y = Tensor(activations_->nonfinite.data(), DType::f32, {1})});
}

Tensor Gpt::nonfinite() const {
  return activations_->nonfinite;
}

std::vector<MemoryLine> Gpt::memory(const ModelConfig& config, const GptOptions& options) {
  check_options(options);
  const int64_t numel = ParameterTable(config).arena_numel(), arena = numel * size_of(DType::f32);
  const Activations::Bytes activations = Activations::bytes(config, options);
  std::vector<MemoryLine> lines = {{"weights", arena}};
  if (options.dtype != DType::f32)
    lines.push_back(
        {fmt::format("weights in {}", name_of(options.dtype)), numel * size_of(options.dtype)});
  if (options.training) {
    lines.push_back({"gradients", arena});
    lines.push_back({"moments", 2 * arena});
  }
  lines.push_back({"activations", activations.kept});
  lines.push_back({"scratch and logits chunk", activations.scratch});
  if (options.dtype != DType::f32)
    lines.push_back({"op workspace, at most", op_workspace_bytes(config, options)});
  lines.push_back({"rotary tables", 2 * rotary_table_numel(config) * size_of(DType::f32)});
  return lines;
}

std::vector<MemoryLine> Gpt::memory() const {
  return memory(config_, options_);
}

void initialize(Gpt& model, uint64_t seed) {
  HostArena weights(model.device(), model.params());
  init_parameters(model.device().cpu(), model.table(), model.config(), seed, weights.tensor());
  weights.store();
  model.refresh_compute_params();
}

}  // namespace midfill
