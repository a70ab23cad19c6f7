// The GPT-NeoX decoder on a device: weights, gradients, activations, forward and backward.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
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
  bool training = true;   // gradients and saved activations exist
  int head_chunk = 4096;  // rows of logits at once
};

struct BlockActivations;

class Gpt {
 public:
  struct Activations;  // activations.h

  // Weights are zero: init_parameters() or a checkpoint fills params().
  Gpt(const ModelConfig& config, const GptOptions& options, Device& device);

  const ModelConfig& config() const { return config_; }
  const ParameterTable& table() const { return table_; }
  Device& device() const { return *device_; }
  const GptWeights& weights() const { return weights_; }
  const Rotary& rotary() const { return rotary_; }

  Tensor params() const { return params_; }   // the arena, flat f32
  Tensor grads() const { return grads_; }     // the same layout; empty unless training
  Tensor param(std::string_view name) const;  // by Hugging Face name, shape as in the table
  Tensor grad(std::string_view name) const;

  // Losses of every token, (B*T) f32, nats; 0 where the weight is 0. Returns sum of weight * loss
  // in double. Throws Error for a batch larger than the options allow and for an id or target
  // outside the vocabulary (a target of weight 0 may be anything).
  double forward(const Batch& batch, std::span<float> token_losses);

  // The same, and adds d(sum of weight * loss)/d(parameter) to the gradients. Dividing by the total
  // weight of a step is left to the optimiser (AdamW::grad_scale), so that micro-batches of any
  // size add up to the same sum.
  double forward_backward(const Batch& batch, std::span<float> token_losses);

  void zero_grads();

  // Bytes by purpose, in the order they are printed at start-up. Computed, not measured: the static
  // twin serves `train --dry-run` without allocating.
  std::vector<MemoryLine> memory() const;
  static std::vector<MemoryLine> memory(const ModelConfig& config, const GptOptions& options);

 private:
  void check_batch(const Batch& batch, std::span<float> token_losses) const;
  void body_forward(const Batch& batch);
  void block_forward(const BlockWeights& w, BlockActivations& a, Tensor y);
  double head(const Batch& batch, std::span<float> token_losses, bool with_gradient);
  void body_backward(const Batch& batch);
  void block_backward(const BlockWeights& w, const BlockWeights& dw, const BlockActivations& f);
  float eps() const { return static_cast<float>(config_.layer_norm_eps); }
  Gelu gelu_kind() const {
    return config_.activation == Activation::gelu_tanh ? Gelu::tanh : Gelu::erf;
  }

  ModelConfig config_;
  GptOptions options_;
  Device* device_;
  ParameterTable table_;
  Buffer params_memory_, grads_memory_, rotary_memory_;
  Tensor params_, grads_;
  GptWeights weights_, d_weights_;
  Rotary rotary_;
  std::shared_ptr<Activations> activations_;
};

}  // namespace midfill
