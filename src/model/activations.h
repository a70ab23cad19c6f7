// The activation table: every tensor of a step once, with its dtype, its shape and how long it
// lives. From it come the arena, the views and the memory plan.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "src/model/gpt.h"

namespace midfill {

// What a block computes on the way forward. Training keeps for each layer what backward does not
// compute again (GptOptions::recompute); all layers share the rest. Statistics and lse are f32, the
// others of the model's dtype.
struct BlockActivations {
  Tensor x;                         // (N,C) residual stream that enters
  Tensor ln1, ln1_mean, ln1_rstd;   // (N,C) (N) (N)
  Tensor qkv;                       // (B,T,NH,3,HS)
  Tensor attention, attention_lse;  // (B,T,NH,HS) (B,NH,T)
  Tensor mid;                       // (N,C) what ln2 reads: x + attention branch; parallel: x
  Tensor ln2, ln2_mean, ln2_rstd;   // (N,C) (N) (N)
  Tensor up, gelu;                  // (N,F) without its bias; gelu(up + bias)
};

struct Gpt::Activations {
  Tensor ids, targets;     // (N) i32, the batch as uploaded
  Tensor weights, losses;  // (N) f32
  Tensor nonfinite;        // (1) i32

  std::vector<BlockActivations> blocks;
  Tensor x;                        // (N,C) residual stream that enters the final norm
  Tensor lnf, lnf_mean, lnf_rstd;  // (N,C) (N) (N)
  Tensor logits;                   // (head_chunk,Vp), then their gradient

  // Gradients, overwritten from block to block.
  Tensor dx;           // (N,C) of the residual stream
  Tensor d_norm;       // (N,C) of the output of a norm
  Tensor d_attention;  // (B,T,NH,HS)
  Tensor d_qkv;        // (B,T,NH,3,HS)
  Tensor d_up;         // (N,F) of gelu, then of up

  Activations(const ModelConfig& config, const GptOptions& options, Device& device);

  // Makes all views those of B samples of T tokens, B <= max_batch, T <= n_ctx. At first they are
  // those of the largest batch. Every tensor begins at the same address whatever the shape.
  void set_shape(int64_t B, int64_t T);

  // Of the arena: what lives through a step, and the scratch of its phases.
  struct Bytes {
    int64_t kept = 0, scratch = 0;
  };
  static Bytes bytes(const ModelConfig& config, const GptOptions& options);

 private:
  ModelConfig config_;
  GptOptions options_;
  int64_t B_ = 0, T_ = 0;
  Buffer memory_;
};

}  // namespace midfill
