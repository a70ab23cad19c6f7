// The model backward: each block's equations of forward.cpp in reverse, after those of its results
// that were not kept have been computed again. Gradients of parameters are
// added to; dx, the gradient of the residual stream, is turned from that of a block's output into
// that of its input in place.
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "src/model/activations.h"

namespace midfill {

void Gpt::body_backward() {
  Activations& a = *activations_;

  device_->run(LayerNormBackward{.dx = a.dx,
                                 .dgamma = d_weights_.lnf_w,
                                 .dbeta = d_weights_.lnf_b,
                                 .dbias = d_weights_.blocks.back().down_b,
                                 .dy = a.d_norm,
                                 .x = a.x,
                                 .mean = a.lnf_mean,
                                 .rstd = a.lnf_rstd,
                                 .gamma = weights_.lnf_w,
                                 .residual = {}});
  for (size_t layer = a.blocks.size(); layer-- > 0;) {
    // The last block's activations are still there.
    if (options_.recompute == Recompute::block && layer + 1 < a.blocks.size())
      block_forward(layer, {});
    block_backward(layer);
  }
  device_->run(EmbeddingBackward{.dtable = d_weights_.embed, .dy = a.dx, .ids = a.ids});
}

// Biases of layers that write to the residual stream: their gradient is the sum over rows of dx,
// and the norm's backward that makes this dx sums it up, so that it is not read again for it.
// down_b of the block before comes from ln1, out_b from ln2; in the parallel form both belong to
// one dx, and out_b is summed by its own layer. qkv_b comes from the backward of attention.
//
// The attention branch's output layer reads dx before the norm that feeds the MLP has added to it
// in the parallel form, and after it in the sequential one: that is the whole difference.
void Gpt::block_backward(size_t layer) {
  const Device::Range range(*device_, backward_names_[layer].c_str());
  const BlockWeights &w = weights_.blocks[layer], &dw = d_weights_.blocks[layer];
  const Activations& a = *activations_;
  const BlockActivations& f = a.blocks[layer];
  const bool gelu_norm = options_.recompute == Recompute::gelu_norm;
  const bool parallel = config_.parallel_residual;
  const int64_t N = f.x.dim(0), C = f.x.dim(1);
  const Tensor d_attention = a.d_attention.reshaped({N, C}), d_qkv = a.d_qkv.reshaped({N, 3 * C});
  const auto attention_output_backward = [&] {
    device_->run(LinearBackward{.dx = d_attention,
                                .dw = dw.out_w,
                                .dbias = parallel ? dw.out_b : Tensor(),
                                .dy = a.dx,
                                .x = f.attention.reshaped({N, C}),
                                .w = w.out_w});
  };

  if (parallel) attention_output_backward();
  if (gelu_norm) mlp_gelu(w, f);
  device_->run(LinearBackward{
      .dx = a.d_up, .dw = dw.down_w, .dbias = {}, .dy = a.dx, .x = f.gelu, .w = w.down_w});
  device_->run(GeluBackward{.dx = a.d_up,
                            .dbias = dw.up_b,
                            .dy = a.d_up,
                            .x = f.up,
                            .bias = w.up_b,
                            .kind = gelu_kind()});
  if (gelu_norm) mlp_norm(w, f);
  device_->run(LinearBackward{
      .dx = a.d_norm, .dw = dw.up_w, .dbias = {}, .dy = a.d_up, .x = f.ln2, .w = w.up_w});
  device_->run(LayerNormBackward{.dx = a.dx,
                                 .dgamma = dw.ln2_w,
                                 .dbeta = dw.ln2_b,
                                 .dbias = parallel ? Tensor() : dw.out_b,
                                 .dy = a.d_norm,
                                 .x = f.mid,
                                 .mean = f.ln2_mean,
                                 .rstd = f.ln2_rstd,
                                 .gamma = w.ln2_w,
                                 .residual = a.dx});

  if (!parallel) attention_output_backward();
  device_->run(AttentionBackward{.dqkv = a.d_qkv,
                                 .dbias = dw.qkv_b,
                                 .dout = a.d_attention,
                                 .out = f.attention,
                                 .lse = f.attention_lse,
                                 .qkv = f.qkv,
                                 .position = rotary_});
  if (gelu_norm) attention_norm(w, f);
  device_->run(LinearBackward{
      .dx = a.d_norm, .dw = dw.qkv_w, .dbias = {}, .dy = d_qkv, .x = f.ln1, .w = w.qkv_w});
  device_->run(
      LayerNormBackward{.dx = a.dx,
                        .dgamma = dw.ln1_w,
                        .dbeta = dw.ln1_b,
                        .dbias = layer > 0 ? d_weights_.blocks[layer - 1].down_b : Tensor(),
                        .dy = a.d_norm,
                        .x = f.x,
                        .mean = f.ln1_mean,
                        .rstd = f.ln1_rstd,
                        .gamma = w.ln1_w,
                        .residual = a.dx});
}

}  // namespace midfill
