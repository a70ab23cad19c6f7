#include "src/train/pending_step.h"

#include <algorithm>
#include <cmath>

namespace midfill {

PendingStep::PendingStep(int64_t rows, int64_t n_ctx, Device& device)
    : device_(&device),
      memory_(device.allocate_host(static_cast<size_t>(bytes(rows, n_ctx)))),
      begun_(device),
      ready_(device),
      done_(device) {
  auto* next = static_cast<char*>(memory_.data());
  const auto take = [&](DType dtype, std::initializer_list<int64_t> dims) {
    const Tensor tensor(next, dtype, dims);
    next += tensor.bytes();
    return tensor;
  };
  ids_ = take(DType::i32, {rows, n_ctx});
  targets_ = take(DType::i32, {rows, n_ctx});
  weights_ = take(DType::f32, {rows, n_ctx});
  losses_ = take(DType::f32, {rows, n_ctx});
  sum_squares_ = take(DType::f64, {1});
  updates_ = take(DType::i32, {1});
}

bool PendingStep::begin(int64_t step, double lr, Loader& loader,
                        const std::function<bool()>& give_up) {
  begun_.record();
  if (!loader.wait(give_up)) return false;
  const SampleBatch& batch = loader.next();
  ready_.record();
  require(batch.rows == rows() && batch.n_ctx == ids_.dim(1),
          "step: a batch of {} samples of {} tokens, expected {} of {}", batch.rows, batch.n_ctx,
          rows(), ids_.dim(1));
  std::ranges::copy(batch.ids, ids_.as<int32_t>());
  std::ranges::copy(batch.targets, targets_.as<int32_t>());
  std::ranges::copy(batch.weights, weights_.as<float>());
  record = {.step = step, .lr = lr, .dropped = batch.stats.dropped, .padded = batch.stats.padded};
  first_sample_ = batch.first_sample;
  total_weight_ = batch.total_weight;
  return true;
}

Batch PendingStep::batch(int64_t begin, int64_t end) const {
  return {.ids = ids_.rows(begin, end),
          .targets = targets_.rows(begin, end),
          .weights = weights_.rows(begin, end)};
}

float* PendingStep::losses(int64_t row) {
  return losses_.as<float>() + row * losses_.dim(1);
}

void PendingStep::enqueue_report(const Optimizer& optimizer) {
  device_->enqueue_download(sum_squares_.data(), optimizer.sum_squares());
  device_->enqueue_download(updates_.data(), optimizer.update_count());
  done_.record();
}

double PendingStep::loss_sum(int64_t at_once) const {
  const int64_t n_ctx = losses_.dim(1);
  double sum = 0.0;
  for (int64_t begin = 0; begin < rows(); begin += at_once) {
    const int64_t end = std::min(begin + at_once, rows());
    const float* losses = losses_.as<float>() + begin * n_ctx;
    sum += weighted_sum(batch(begin, end), {losses, static_cast<size_t>((end - begin) * n_ctx)});
  }
  return sum;
}

double PendingStep::grad_norm() const {
  return std::sqrt(*sum_squares_.as<double>()) / total_weight_;
}

int64_t PendingStep::updates() const {
  return *updates_.as<int32_t>();
}

std::vector<int64_t> PendingStep::nonfinite_samples() const {
  std::vector<int64_t> samples;
  for (int64_t row = 0; row < rows(); ++row) {
    const float* loss = losses_.as<float>() + row * losses_.dim(1);
    if (!std::all_of(loss, loss + losses_.dim(1), [](float x) { return std::isfinite(x); }))
      samples.push_back(first_sample_ + row);
  }
  return samples;
}

}  // namespace midfill
