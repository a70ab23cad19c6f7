// The model forward, as its equations. N = B*T rows everywhere; docs/notation.md has the letters.
#include <algorithm>

#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "src/model/activations.h"

namespace midfill {

// x = embed[ids];  x = block(x) for each layer;  lnf = layer_norm(x)
void Gpt::body_forward() {
  Activations& a = *activations_;
  device_->run(EmbeddingForward{.y = a.blocks.front().x, .ids = a.ids, .table = weights_.embed});
  for (size_t layer = 0; layer < a.blocks.size(); ++layer) {
    const bool last = layer + 1 == a.blocks.size();
    block_forward(layer, last ? a.x : a.blocks[layer + 1].x);
  }
  device_->run(LayerNormForward{.y = a.lnf,
                                .mean = a.lnf_mean,
                                .rstd = a.lnf_rstd,
                                .x = a.x,
                                .gamma = weights_.lnf_w,
                                .beta = weights_.lnf_b,
                                .eps = eps()});
}

// sequential: mid = x + attention(ln1(x));  y = mid + mlp(ln2(mid))
// parallel:   y = x + attention(ln1(x)) + mlp(ln2(x))
// Without training, y may be x itself: it is written after everything else has read x. Backward
// recomputes a block without y: then all but the products that give y is done.
void Gpt::block_forward(size_t layer, Tensor y) {
  const Device::Range range(*device_, forward_names_[layer].c_str());
  const BlockWeights& w = weights_.blocks[layer];
  const BlockActivations& a = activations_->blocks[layer];
  const bool parallel = config_.parallel_residual;
  const int64_t N = a.x.dim(0), C = a.x.dim(1);
  const Tensor qkv = a.qkv.reshaped({N, 3 * C}), attention = a.attention.reshaped({N, C});
  const auto add_attention = [&](Tensor to) {
    device_->run(
        LinearForward{.y = to, .x = attention, .w = w.out_w, .bias = w.out_b, .residual = a.x});
  };

  attention_norm(w, a);
  device_->run(LinearForward{.y = qkv, .x = a.ln1, .w = w.qkv_w, .bias = w.qkv_b, .residual = {}});
  device_->run(AttentionForward{
      .out = a.attention, .lse = a.attention_lse, .qkv = a.qkv, .position = rotary_});
  if (!parallel) add_attention(a.mid);

  mlp_norm(w, a);
  device_->run(LinearForward{.y = a.up, .x = a.ln2, .w = w.up_w, .bias = {}, .residual = {}});
  mlp_gelu(w, a);
  if (!y) return;
  if (parallel) add_attention(y);
  device_->run(LinearForward{
      .y = y, .x = a.gelu, .w = w.down_w, .bias = w.down_b, .residual = parallel ? y : a.mid});
}

void Gpt::attention_norm(const BlockWeights& w, const BlockActivations& a) {
  device_->run(LayerNormForward{.y = a.ln1,
                                .mean = a.ln1_mean,
                                .rstd = a.ln1_rstd,
                                .x = a.x,
                                .gamma = w.ln1_w,
                                .beta = w.ln1_b,
                                .eps = eps()});
}

void Gpt::mlp_norm(const BlockWeights& w, const BlockActivations& a) {
  device_->run(LayerNormForward{.y = a.ln2,
                                .mean = a.ln2_mean,
                                .rstd = a.ln2_rstd,
                                .x = a.mid,
                                .gamma = w.ln2_w,
                                .beta = w.ln2_b,
                                .eps = eps()});
}

void Gpt::mlp_gelu(const BlockWeights& w, const BlockActivations& a) {
  device_->run(GeluForward{.y = a.gelu, .x = a.up, .bias = w.up_b, .kind = gelu_kind()});
}

// logits = lnf head^T;  loss = cross_entropy(logits). In chunks of rows, so that the full logits
// never exist; what backward needs from them is taken while they are there:
// dhead += dlogits^T lnf;  d_lnf = dlogits head.
void Gpt::head(bool with_gradient) {
  const Device::Range range(*device_, "head");
  Activations& a = *activations_;
  const int64_t N = a.lnf.dim(0);
  for (int64_t begin = 0; begin < N; begin += a.logits.dim(0)) {
    const int64_t end = std::min(begin + a.logits.dim(0), N);
    const Tensor logits = a.logits.rows(0, end - begin), lnf = a.lnf.rows(begin, end);
    device_->run(
        LinearForward{.y = logits, .x = lnf, .w = weights_.head, .bias = {}, .residual = {}});
    device_->run(CrossEntropy{.loss = a.losses.rows(begin, end),
                              .dlogits = with_gradient ? logits : Tensor(),
                              .nonfinite = with_gradient ? a.nonfinite : Tensor(),
                              .logits = logits,
                              .targets = a.targets.rows(begin, end),
                              .weights = a.weights.rows(begin, end),
                              .vocab = config_.vocab_size});
    if (with_gradient)
      device_->run(LinearBackward{.dx = a.d_norm.rows(begin, end),
                                  .dw = d_weights_.head,
                                  .dbias = {},
                                  .dy = logits,
                                  .x = lnf,
                                  .w = weights_.head});
  }
}

}  // namespace midfill
