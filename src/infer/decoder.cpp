#include "src/infer/decoder.h"

#include <algorithm>

#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/memory.h"

namespace midfill {

namespace {

// Rows of activations at once: a long prompt goes through in pieces.
constexpr int64_t kRows = 512;

}  // namespace

Decoder::Decoder(const Gpt& model, int batch)
    : model_(&model), max_batch_(batch), max_rows_(std::max<int64_t>(batch, kRows)) {
  require(batch >= 1, "a decoder needs a batch of at least 1, found {}", batch);
  const ModelConfig& c = model.config();
  const int64_t N = max_rows_, C = c.d_model, F = c.d_ff, B = batch;

  const DType own = model.options().dtype, f32 = DType::f32;

  struct Place {
    Tensor* tensor;
    DType dtype;
    std::vector<int64_t> dims;
  };
  k_.resize(static_cast<size_t>(c.n_layers));
  v_.resize(k_.size());
  std::vector<Place> places = {{&ids_, DType::i32, {N}},   {&x_, own, {N, C}},
                               {&norm_, own, {N, C}},      {&mean_, f32, {N}},
                               {&rstd_, f32, {N}},         {&qkv_, own, {N, 3 * C}},
                               {&attention_, own, {N, C}}, {&up_, own, {N, F}},
                               {&gelu_, own, {N, F}},      {&logits_, f32, {B, c.padded_vocab()}}};
  for (auto* caches : {&k_, &v_})
    for (Tensor& cache : *caches)
      places.push_back({&cache, own, {B, c.n_heads, c.n_ctx, c.head_size()}});

  const auto bytes_of = [](const Place& place) {
    int64_t bytes = size_of(place.dtype);
    for (int64_t dim : place.dims) bytes *= dim;
    return (bytes + 255) / 256 * 256;
  };
  int64_t bytes = 0;
  for (const Place& place : places) bytes += bytes_of(place);
  memory_ = model.device().allocate(static_cast<size_t>(bytes));
  auto* at = static_cast<char*>(memory_.data());
  for (const Place& place : places) {
    *place.tensor = Tensor(at, place.dtype, place.dims);
    at += bytes_of(place);
  }
  host_logits_.resize(static_cast<size_t>(logits_.numel()));
}

void Decoder::rewind(int64_t length) {
  require(length >= 0 && length <= length_, "decoder: cannot rewind {} positions to {}", length_,
          length);
  length_ = length;
  batch_ = 1;
}

std::span<const float> Decoder::append(std::span<const int32_t> ids) {
  const ModelConfig& c = model_->config();
  const auto count = static_cast<int64_t>(ids.size());
  require(count > 0 && count % batch_ == 0, "decoder: {} ids for {} sequences", count, batch_);
  const int64_t T = count / batch_;
  require(length_ + T <= c.n_ctx, "decoder: {} tokens after {} do not fit the context of {}", T,
          length_, c.n_ctx);
  for (int32_t id : ids)
    require(id >= 0 && id < c.vocab_size, "decoder: id {} is outside the vocabulary of {}", id,
            c.vocab_size);

  const int64_t piece = std::max<int64_t>(1, max_rows_ / batch_);
  int64_t done = 0, n = 0;
  for (; done < T; done += n) {
    n = std::min(piece, T - done);
    host_ids_.clear();
    for (int64_t b = 0; b < batch_; ++b) {
      const auto first = ids.begin() + b * T + done;
      host_ids_.insert(host_ids_.end(), first, first + n);
    }
    n_ = batch_ * n;
    model_->device().upload(rows(ids_), host_ids_.data());
    model_->device().run(
        EmbeddingForward{.y = rows(x_), .ids = rows(ids_), .table = model_->weights().embed});
    for (size_t layer = 0; layer < k_.size(); ++layer) block(layer, n);
    length_ += n;
  }
  return head(n);
}

// x += attention(ln1(x));  x += mlp(ln2(x)); parallel: both norms read the x that came in.
void Decoder::block(size_t layer, int64_t T) {
  const ModelConfig& c = model_->config();
  const BlockWeights& w = model_->weights().blocks[layer];
  Device& device = model_->device();
  const Tensor x = rows(x_), norm = rows(norm_), attention = rows(attention_);
  const auto normalise = [&](const Tensor& gamma, const Tensor& beta) {
    device.run(LayerNormForward{.y = norm,
                                .mean = rows(mean_),
                                .rstd = rows(rstd_),
                                .x = x,
                                .gamma = gamma,
                                .beta = beta,
                                .eps = static_cast<float>(c.layer_norm_eps)});
  };
  const auto add_attention = [&] {
    device.run(LinearForward{.y = x, .x = attention, .w = w.out_w, .bias = w.out_b, .residual = x});
  };

  normalise(w.ln1_w, w.ln1_b);
  device.run(
      LinearForward{.y = rows(qkv_), .x = norm, .w = w.qkv_w, .bias = w.qkv_b, .residual = {}});
  device.run(AttentionDecode{.out = attention.reshaped({batch_, T, c.n_heads, c.head_size()}),
                             .k_cache = k_[layer].rows(0, batch_),
                             .v_cache = v_[layer].rows(0, batch_),
                             .qkv = rows(qkv_).reshaped({batch_, T, c.n_heads, 3, c.head_size()}),
                             .position = model_->rotary(),
                             .start = length_});
  if (!c.parallel_residual) add_attention();

  normalise(w.ln2_w, w.ln2_b);
  device.run(LinearForward{.y = rows(up_), .x = norm, .w = w.up_w, .bias = {}, .residual = {}});
  device.run(GeluForward{.y = rows(gelu_),
                         .x = rows(up_),
                         .bias = w.up_b,
                         .kind = c.activation == Activation::gelu_tanh ? Gelu::tanh : Gelu::erf});
  if (c.parallel_residual) add_attention();
  device.run(
      LinearForward{.y = x, .x = rows(gelu_), .w = w.down_w, .bias = w.down_b, .residual = x});
}

// Only the last of the T positions of each sequence goes through the LM head.
std::span<const float> Decoder::head(int64_t T) {
  const ModelConfig& c = model_->config();
  const GptWeights& w = model_->weights();
  for (int64_t b = 0; b < batch_ && T > 1; ++b)
    model_->device().run(Copy{.y = x_.rows(b, b + 1), .x = x_.rows(b * T + T - 1, b * T + T)});
  n_ = batch_;
  model_->device().run(LayerNormForward{.y = rows(norm_),
                                        .mean = rows(mean_),
                                        .rstd = rows(rstd_),
                                        .x = rows(x_),
                                        .gamma = w.lnf_w,
                                        .beta = w.lnf_b,
                                        .eps = static_cast<float>(c.layer_norm_eps)});
  model_->device().run(
      LinearForward{.y = rows(logits_), .x = rows(norm_), .w = w.head, .bias = {}, .residual = {}});

  // (batch,Vp) to (batch,vocab_size).
  float* logits = host_logits_.data();
  model_->device().download(logits, rows(logits_));
  if (c.padded_vocab() > c.vocab_size)
    for (int64_t b = 1; b < batch_; ++b)
      std::copy_n(logits + b * c.padded_vocab(), c.vocab_size, logits + b * c.vocab_size);
  return {logits, static_cast<size_t>(batch_) * c.vocab_size};
}

void Decoder::copy_sequence(int from, int to) {
  const ModelConfig& c = model_->config();
  if (length_ == 0) return;
  for (const auto* caches : {&k_, &v_})
    for (const Tensor& cache : *caches) {
      const Tensor heads =
          cache.reshaped({int64_t{max_batch_} * c.n_heads * c.n_ctx, c.head_size()});
      for (int64_t h = 0; h < c.n_heads; ++h) {
        const auto positions = [&](int sequence) {
          const int64_t begin = (sequence * int64_t{c.n_heads} + h) * c.n_ctx;
          return heads.rows(begin, begin + length_);
        };
        model_->device().run(Copy{.y = positions(to), .x = positions(from)});
      }
    }
}

void Decoder::broadcast(int batch) {
  require(batch >= 1 && batch <= max_batch_, "decoder: {} sequences, expected 1 to {}", batch,
          max_batch_);
  for (int to = 1; to < batch; ++to) copy_sequence(0, to);
  batch_ = batch;
}

void Decoder::keep(std::span<const int> sequences) {
  int to = 0;
  for (int from : sequences) {
    require(from >= to && from < batch_, "decoder: cannot keep sequence {} of {}", from, batch_);
    if (from != to) copy_sequence(from, to);
    ++to;
  }
  batch_ = to;
}

}  // namespace midfill
