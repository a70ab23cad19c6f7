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

namespace {

// Ids are checked here and not only in the kernels: those know the padded vocabulary, whose last
// rows no id may name. A token of weight 0 has no loss, so its target may be anything.
void check_range(Tensor ids, Tensor weights, std::string_view what, int64_t vocab) {
  const int32_t* id = ids.as<int32_t>();
  const float* weight = weights ? weights.as<float>() : nullptr;
  const int64_t N = ids.numel(), T = ids.dim(1);
  for (int64_t n = 0; n < N; ++n) {
    if (weight && weight[n] == 0.0f) continue;
    require(id[n] >= 0 && id[n] < vocab,
            "batch: {} of sample {}, position {} is {}, expected a token id below {}", what, n / T,
            n % T, id[n], vocab);
  }
}

}  // namespace

void Gpt::check_batch(const Batch& batch, std::span<float> token_losses) const {
  require(batch.ids && batch.ids.rank() == 2, "batch: expected ids of shape (B, T), found {}",
          batch.ids.shape_text());
  const int64_t B = batch.ids.dim(0), T = batch.ids.dim(1);
  require(B >= 1 && B <= options_.max_batch && T >= 1 && T <= config_.n_ctx,
          "batch: ids are {}, expected at most ({}, {}) and at least one token",
          batch.ids.shape_text(), options_.max_batch, config_.n_ctx);
  expect(batch.ids, "batch", "ids", DType::i32, {B, T});
  expect(batch.targets, "batch", "targets", DType::i32, {B, T});
  expect(batch.weights, "batch", "weights", DType::f32, {B, T});
  require(static_cast<int64_t>(token_losses.size()) == B * T,
          "batch: room for {} losses, expected {}", token_losses.size(), B * T);
  check_range(batch.ids, {}, "id", config_.vocab_size);
  check_range(batch.targets, batch.weights, "target", config_.vocab_size);
}

double Gpt::forward(const Batch& batch, std::span<float> token_losses) {
  check_batch(batch, token_losses);
  body_forward(batch);
  return head(batch, token_losses, /*with_gradient=*/false);
}

// x = embed[ids];  x = block(x) for each layer;  lnf = layer_norm(x)
void Gpt::body_forward(const Batch& batch) {
  const int64_t N = batch.ids.numel();
  Activations& a = *activations_;
  a.set_shape(batch.ids.dim(0), batch.ids.dim(1));

  device_->run(EmbeddingForward{
      .y = a.blocks.front().x, .ids = batch.ids.reshaped({N}), .table = weights_.embed});
  for (size_t layer = 0; layer < a.blocks.size(); ++layer) {
    const bool last = layer + 1 == a.blocks.size();
    block_forward(weights_.blocks[layer], a.blocks[layer], last ? a.x : a.blocks[layer + 1].x);
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
// Without training, y may be x itself: it is written after everything else has read x.
void Gpt::block_forward(const BlockWeights& w, BlockActivations& a, Tensor y) {
  const bool parallel = config_.parallel_residual;
  const int64_t N = a.x.dim(0), C = a.x.dim(1);
  const Tensor qkv = a.qkv.reshaped({N, 3 * C}), attention = a.attention.reshaped({N, C});
  const auto add_attention = [&](Tensor to) {
    device_->run(
        LinearForward{.y = to, .x = attention, .w = w.out_w, .bias = w.out_b, .residual = a.x});
  };

  device_->run(LayerNormForward{.y = a.ln1,
                                .mean = a.ln1_mean,
                                .rstd = a.ln1_rstd,
                                .x = a.x,
                                .gamma = w.ln1_w,
                                .beta = w.ln1_b,
                                .eps = eps()});
  device_->run(LinearForward{.y = qkv, .x = a.ln1, .w = w.qkv_w, .bias = w.qkv_b, .residual = {}});
  device_->run(AttentionForward{
      .out = a.attention, .lse = a.attention_lse, .qkv = a.qkv, .position = rotary_});
  if (!parallel) add_attention(a.mid);

  device_->run(LayerNormForward{.y = a.ln2,
                                .mean = a.ln2_mean,
                                .rstd = a.ln2_rstd,
                                .x = a.mid,
                                .gamma = w.ln2_w,
                                .beta = w.ln2_b,
                                .eps = eps()});
  device_->run(LinearForward{.y = a.up, .x = a.ln2, .w = w.up_w, .bias = {}, .residual = {}});
  device_->run(GeluForward{.y = a.gelu, .x = a.up, .bias = w.up_b, .kind = gelu_kind()});
  if (parallel) add_attention(y);
  device_->run(LinearForward{
      .y = y, .x = a.gelu, .w = w.down_w, .bias = w.down_b, .residual = parallel ? y : a.mid});
}

// logits = lnf head^T;  loss = cross_entropy(logits). In chunks of rows, so that the full logits
// never exist; what backward needs from them is taken while they are there:
// dhead += dlogits^T lnf;  d_lnf = dlogits head.
double Gpt::head(const Batch& batch, std::span<float> token_losses, bool with_gradient) {
  Activations& a = *activations_;
  const int64_t N = a.lnf.dim(0);
  const Tensor targets = batch.targets.reshaped({N}), weights = batch.weights.reshaped({N});
  const Tensor losses = Tensor::of(token_losses.data(), {N});

  for (int64_t begin = 0; begin < N; begin += a.logits.dim(0)) {
    const int64_t end = std::min(begin + a.logits.dim(0), N);
    const Tensor logits = a.logits.rows(0, end - begin), lnf = a.lnf.rows(begin, end);
    device_->run(
        LinearForward{.y = logits, .x = lnf, .w = weights_.head, .bias = {}, .residual = {}});
    device_->run(CrossEntropy{.loss = losses.rows(begin, end),
                              .dlogits = with_gradient ? logits : Tensor(),
                              .logits = logits,
                              .targets = targets.rows(begin, end),
                              .weights = weights.rows(begin, end),
                              .vocab = config_.vocab_size});
    if (with_gradient)
      device_->run(LinearBackward{.dx = a.d_norm.rows(begin, end),
                                  .dw = d_weights_.head,
                                  .dbias = {},
                                  .dy = logits,
                                  .x = lnf,
                                  .w = weights_.head});
  }

  double sum = 0.0;
  const float* weight = weights.as<float>();
  for (int64_t n = 0; n < N; ++n) sum += double{weight[n]} * token_losses[n];
  return sum;
}

}  // namespace midfill
