// A micro-batch goes in and its losses come out: what callers of the model see of a step.
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

void check_losses(const Batch& batch, std::span<const float> token_losses) {
  require(static_cast<int64_t>(token_losses.size()) == batch.ids.numel(),
          "batch: room for {} losses, expected {}", token_losses.size(), batch.ids.numel());
}

}  // namespace

double weighted_sum(const Batch& batch, std::span<const float> token_losses) {
  const float* weight = batch.weights.as<float>();
  double sum = 0.0;
  for (size_t n = 0; n < token_losses.size(); ++n) sum += double{weight[n]} * token_losses[n];
  return sum;
}

void Gpt::check_training() const {
  require(options_.training, "forward_backward: the model was not made for training");
}

void Gpt::check_batch(const Batch& batch) const {
  require(batch.ids && batch.ids.rank() == 2, "batch: expected ids of shape (B, T), found {}",
          batch.ids.shape_text());
  const int64_t B = batch.ids.dim(0), T = batch.ids.dim(1);
  require(B >= 1 && B <= options_.max_batch && T >= 1 && T <= config_.n_ctx,
          "batch: ids are {}, expected at most ({}, {}) and at least one token",
          batch.ids.shape_text(), options_.max_batch, config_.n_ctx);
  expect(batch.ids, "batch", "ids", DType::i32, {B, T});
  expect(batch.targets, "batch", "targets", DType::i32, {B, T});
  expect(batch.weights, "batch", "weights", DType::f32, {B, T});
  check_range(batch.ids, {}, "id", config_.vocab_size);
  check_range(batch.targets, batch.weights, "target", config_.vocab_size);
}

void Gpt::upload(const Batch& batch) {
  Activations& a = *activations_;
  a.set_shape(batch.ids.dim(0), batch.ids.dim(1));
  device_->enqueue_upload(a.ids, batch.ids.data());
  device_->enqueue_upload(a.targets, batch.targets.data());
  device_->enqueue_upload(a.weights, batch.weights.data());
}

double Gpt::forward(const Batch& batch, std::span<float> token_losses) {
  check_batch(batch);
  check_losses(batch, token_losses);
  upload(batch);
  body_forward();
  head(/*with_gradient=*/false);
  device_->download(token_losses.data(), activations_->losses);
  return weighted_sum(batch, token_losses);
}

double Gpt::forward_backward(const Batch& batch, std::span<float> token_losses) {
  check_training();
  check_batch(batch);
  check_losses(batch, token_losses);
  micro_step(batch, token_losses.data());
  device_->synchronize();
  return weighted_sum(batch, token_losses);
}

void Gpt::enqueue_forward_backward(const Batch& batch, float* token_losses) {
  check_training();
  check_batch(batch);
  micro_step(batch, token_losses);
}

// The copies stand outside of the graph: host memory may be another each time.
void Gpt::micro_step(const Batch& batch, float* token_losses) {
  const auto work = [this] {
    body_forward();
    head(/*with_gradient=*/true);
    body_backward();
  };
  upload(batch);
  if (CudaGraph* graph = graph_of(batch))
    device_->cuda().replay(*graph, work);
  else
    work();
  device_->enqueue_download(token_losses, activations_->losses);
}

// Where micro-steps are graphs, that of the batch's shape; nothing at its first step, in which
// workspaces grow and plans are made.
CudaGraph* Gpt::graph_of(const Batch& batch) {
  if (!options_.cuda_graph || !device_->is_cuda()) return nullptr;
  const auto [at, first] = graphs_.try_emplace({batch.ids.dim(0), batch.ids.dim(1)});
  return first ? nullptr : &at->second;
}

}  // namespace midfill
