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
  const int64_t n = model.table().arena_numel();
  memory_ = Buffer(static_cast<size_t>(2 * n * size_of(DType::f32)));
  auto* data = static_cast<float*>(memory_.data());
  m_ = Tensor::of(data, {n});
  v_ = Tensor::of(data + n, {n});
  model.device().run(Fill{.y = m_});
  model.device().run(Fill{.y = v_});
}

double Optimizer::grad_norm(double total_weight) {
  require(total_weight > 0.0, "gradient norm: total weight is {}, expected more than 0",
          total_weight);
  double sum = 0.0;
  model_->device().run(SquaredNorm{.out = Tensor::of(&sum, {1}), .x = model_->grads()});
  return std::sqrt(sum) / total_weight;
}

void Optimizer::update(double lr, double norm, double total_weight) {
  require(total_weight > 0.0 && std::isfinite(norm),
          "update: gradient norm {} over a total weight of {}, expected finite numbers", norm,
          total_weight);
  const double clip = config_.clip > 0.0 && norm > config_.clip ? config_.clip / norm : 1.0;
  model_->device().run(AdamW{.params = model_->params(),
                             .m = m_,
                             .v = v_,
                             .grads = model_->grads(),
                             .decay = decay_,
                             .lr = static_cast<float>(lr),
                             .beta1 = static_cast<float>(config_.beta1),
                             .beta2 = static_cast<float>(config_.beta2),
                             .eps = static_cast<float>(config_.eps),
                             .grad_scale = static_cast<float>(clip / total_weight),
                             .step = ++updates_});
}

}  // namespace midfill
