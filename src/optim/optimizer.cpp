#include "src/optim/optimizer.h"

#include <cmath>

#include "kernels/grad_norm.h"
#include "kernels/memory.h"

namespace midfill {

Optimizer::Optimizer(const OptimConfig& config, Gpt& model)
    : config_(config),
      model_(&model),
      decay_(model.table().decay_spans(static_cast<float>(config.weight_decay))) {
  require(static_cast<bool>(model.grads()), "an optimizer needs a model made for training");
  Device& device = model.device();
  const int64_t n = model.table().arena_numel();
  moments_ = device.allocate(static_cast<size_t>(2 * n * size_of(DType::f32)));
  auto* moments = static_cast<float*>(moments_.data());
  m_ = Tensor::of(moments, {n});
  v_ = Tensor::of(moments + n, {n});
  device.run(Fill{.y = m_});
  device.run(Fill{.y = v_});
  scalars_ = device.allocate(sizeof(double) + sizeof(int32_t));
  auto* scalars = static_cast<double*>(scalars_.data());
  sum_squares_ = Tensor::of(scalars, {1});
  update_count_ = Tensor(scalars + 1, DType::i32, {1});
  set_updates(0);
}

void Optimizer::enqueue_norm() {
  model_->device().run(SquaredNorm{.out = sum_squares_, .x = model_->grads()});
}

void Optimizer::enqueue_adamw(double lr, double total_weight) {
  require(total_weight > 0.0, "update: total weight is {}, expected more than 0", total_weight);
  const bool narrow = model_->compute_params().dtype() == DType::bf16;
  model_->device().run(AdamW{.params = model_->params(),
                             .weights = narrow ? model_->compute_params() : Tensor(),
                             .m = m_,
                             .v = v_,
                             .updates = update_count_,
                             .grads = model_->grads(),
                             .sum_squares = sum_squares_,
                             .nonfinite = model_->nonfinite(),
                             .decay = decay_,
                             .lr = static_cast<float>(lr),
                             .beta1 = static_cast<float>(config_.beta1),
                             .beta2 = static_cast<float>(config_.beta2),
                             .eps = static_cast<float>(config_.eps),
                             .total_weight = total_weight,
                             .clip = config_.clip});
}

void Optimizer::enqueue_update(double lr, double total_weight) {
  enqueue_norm();
  enqueue_adamw(lr, total_weight);
}

double Optimizer::grad_norm(double total_weight) {
  require(total_weight > 0.0, "gradient norm: total weight is {}, expected more than 0",
          total_weight);
  enqueue_norm();
  double sum = 0.0;
  model_->device().download(&sum, sum_squares_);
  return std::sqrt(sum) / total_weight;
}

int64_t Optimizer::updates() const {
  int32_t count = 0;
  model_->device().download(&count, update_count_);
  return count;
}

void Optimizer::set_updates(int64_t n) {
  require(0 <= n && n <= INT32_MAX, "optimizer: {} updates, expected 0 to {}", n, INT32_MAX);
  const auto count = static_cast<int32_t>(n);
  model_->device().upload(update_count_, &count);
}

}  // namespace midfill
