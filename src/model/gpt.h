// The GPT-NeoX decoder on a device: weights, gradients, activations, forward and backward.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "kernels/gelu.h"
#include "src/config/config.h"
#include "src/model/parameters.h"

namespace midfill {

// One micro-batch in host memory. B <= max_batch, 1 <= T <= n_ctx.
struct Batch {
  Tensor ids;      // (B,T) i32, < vocab_size
  Tensor targets;  // (B,T) i32, < vocab_size
  Tensor weights;  // (B,T) f32
};

// Sum of weight * loss in double, over the tokens of a batch in their order.
double weighted_sum(const Batch& batch, std::span<const float> token_losses);

// Views of one block's weights (or gradients), shapes beside them.
struct BlockWeights {
  Tensor ln1_w, ln1_b;    // (C)
  Tensor qkv_w, qkv_b;    // (3C,C) (3C)   rows are (head, 3, head_size)
  Tensor out_w, out_b;    // (C,C) (C)
  Tensor ln2_w, ln2_b;    // (C)
  Tensor up_w, up_b;      // (F,C) (F)
  Tensor down_w, down_b;  // (C,F) (C)
};

struct GptWeights {
  Tensor embed;  // (Vp,C)
  std::vector<BlockWeights> blocks;
  Tensor lnf_w, lnf_b;  // (C)
  Tensor head;          // (Vp,C); the same tensor as embed when tied
};

struct MemoryLine {
  std::string name;  // "weights", "gradients", "moments", "activations", ...
  int64_t bytes = 0;
};

struct GptOptions {
  int max_batch = 1;
  bool training = true;      // gradients and saved activations exist
  int head_chunk = 4096;     // rows of logits at once
  DType dtype = DType::f32;  // of activations and compute_params(); bf16 on `cuda` alone
  Recompute recompute = Recompute::none;
  bool cuda_graph = false;  // launch a micro-step as one CUDA graph; nothing on the CPU
};

struct BlockActivations;

class Gpt {
 public:
  struct Activations;  // activations.h

  // Weights are zero until initialize() or a checkpoint fills them. Throws Error, with the key to
  // change, for a model that the device's kernels do not take.
  Gpt(const ModelConfig& config, const GptOptions& options, Device& device);

  const ModelConfig& config() const { return config_; }
  const GptOptions& options() const { return options_; }
  const ParameterTable& table() const { return table_; }
  Device& device() const { return *device_; }
  const GptWeights& weights() const { return weights_; }  // views of compute_params()
  const Rotary& rotary() const { return rotary_; }

  // Memory of the device, the layout of the parameter table; HostArena gives the host access.
  Tensor params() const { return params_; }  // the master weights, flat f32
  Tensor grads() const { return grads_; }    // flat f32; empty unless training
  // What the ops read: params() itself in f32; a copy rounded to bf16 otherwise, which whoever
  // writes to params() brings up to date.
  Tensor compute_params() const { return compute_params_; }
  void refresh_compute_params();
  Tensor param(std::string_view name) const;  // by Hugging Face name, shape as in the table
  Tensor grad(std::string_view name) const;

  // Losses of every token, (B*T) f32, nats; 0 where the weight is 0. Returns the weighted_sum.
  // Throws Error for a batch larger than the options allow and for an id or target outside the
  // vocabulary (a target of weight 0 may be anything).
  double forward(const Batch& batch, std::span<float> token_losses);

  // The same, and adds d(sum of weight * loss)/d(parameter) to the gradients. Dividing by the total
  // weight of a step is left to the optimiser, so that micro-batches of any size add up to the same
  // sum.
  double forward_backward(const Batch& batch, std::span<float> token_losses);

  // The same without waiting for the device: batch and losses, (B*T), must stay untouched until
  // Device::synchronize(), and the losses are there after it. Copies are free of detours where both
  // come from Cuda::allocate_host. The batch is checked before it returns.
  void enqueue_forward_backward(const Batch& batch, float* token_losses);

  void zero_grads();  // and nonfinite()
  // (1) i32 in memory of the device: 1 where a loss of weight other than 0 was not finite since
  // zero_grads(), else 0. Empty unless training.
  Tensor nonfinite() const;

  // Bytes by purpose, in the order they are printed at start-up. Computed, not measured: the static
  // twin serves `train --dry-run` without allocating.
  std::vector<MemoryLine> memory() const;
  static std::vector<MemoryLine> memory(const ModelConfig& config, const GptOptions& options);

 private:
  void check_training() const;
  void check_batch(const Batch& batch) const;
  void upload(const Batch& batch);
  void micro_step(const Batch& batch, float* token_losses);
  CudaGraph* graph_of(const Batch& batch);
  void body_forward();
  void block_forward(size_t layer, Tensor y);
  void attention_norm(const BlockWeights& w, const BlockActivations& a);
  void mlp_norm(const BlockWeights& w, const BlockActivations& a);
  void mlp_gelu(const BlockWeights& w, const BlockActivations& a);
  void head(bool with_gradient);
  void body_backward();
  void block_backward(size_t layer);
  float eps() const { return static_cast<float>(config_.layer_norm_eps); }
  Gelu gelu_kind() const {
    return config_.activation == Activation::gelu_tanh ? Gelu::tanh : Gelu::erf;
  }

  ModelConfig config_;
  GptOptions options_;
  Device* device_;
  ParameterTable table_;
  Buffer params_memory_, compute_memory_, grads_memory_, rotary_memory_;
  Tensor params_, compute_params_, grads_;
  GptWeights weights_, d_weights_;
  Rotary rotary_;
  std::shared_ptr<Activations> activations_;
  std::map<std::pair<int64_t, int64_t>, CudaGraph> graphs_;  // of micro-steps, by (B,T)
  std::vector<std::string> forward_names_, backward_names_;  // of layers, for profilers
};

// Initial weights, init_parameters() of the model's configuration.
void initialize(Gpt& model, uint64_t seed);

}  // namespace midfill
