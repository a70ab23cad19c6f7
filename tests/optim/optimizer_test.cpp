#include "src/optim/optimizer.h"

#include <cmath>
#include <vector>

#include "tests/model/reference_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::randomize;

class OptimizerTest : public testing::Test {
 protected:
  ModelConfig config{
      .n_layers = 1, .d_model = 16, .n_heads = 2, .d_ff = 24, .n_ctx = 4, .vocab_size = 10};
  Device device{"cpu", 2};
  Gpt model{config, {.max_batch = 1}, device};

  // Gradients that differ from element to element, zero in the gaps of the arena.
  void set_gradients(float scale) {
    model.zero_grads();
    for (const Parameter& p : model.table().all())
      for (int64_t i = 0; i < p.numel; ++i)
        model.grad(p.name).as<float>()[i] = scale * std::sin(static_cast<float>(p.offset + i));
  }
  double norm_of_gradients() const {
    double sum = 0;
    for (int64_t i = 0; i < model.grads().numel(); ++i)
      sum += std::pow(double{model.grads().as<float>()[i]}, 2);
    return std::sqrt(sum);
  }
};

TEST_F(OptimizerTest, GradNormIsThatOfTheMeanGradient) {
  set_gradients(3.0f);
  Optimizer optimizer(OptimConfig(), model);
  EXPECT_NEAR(optimizer.grad_norm(1.0), norm_of_gradients(), 1e-9 * norm_of_gradients());
  EXPECT_NEAR(optimizer.grad_norm(64.0), norm_of_gradients() / 64, 1e-9 * norm_of_gradients());
  model.grad("embed_out.weight").as<float>()[5] = NAN;
  EXPECT_FALSE(std::isfinite(optimizer.grad_norm(64.0)));
}

// AdamW from its definition, in double, for three updates of every element.
TEST_F(OptimizerTest, UpdatesAreAdamWWithDecayOnMatricesOnly) {
  const OptimConfig optim{.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.3, .clip = 0};
  randomize(model, 1);
  Optimizer optimizer(optim, model);
  const int64_t n = model.params().numel();
  std::vector<double> p(model.params().as<float>(), model.params().as<float>() + n), m(n), v(n);
  std::vector<double> decay(n, 0.0);
  for (const Parameter& parameter : model.table().all())
    if (parameter.shape.size() == 2)
      std::fill_n(decay.begin() + parameter.offset, parameter.numel, optim.weight_decay);

  for (int step = 1; step <= 3; ++step) {
    set_gradients(static_cast<float>(step));
    const double lr = 0.01 * step, total_weight = 8.0;
    for (int64_t i = 0; i < n; ++i) {
      const double g = double{model.grads().as<float>()[i]} / total_weight;
      m[i] = 0.8 * m[i] + 0.2 * g;
      v[i] = 0.9 * v[i] + 0.1 * g * g;
      const double update =
          m[i] / (1 - std::pow(0.8, step)) / (std::sqrt(v[i] / (1 - std::pow(0.9, step))) + 1e-6);
      p[i] = p[i] * (1 - lr * decay[i]) - lr * update;
    }
    optimizer.enqueue_update(lr, total_weight);
    EXPECT_EQ(optimizer.updates(), step);
  }
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_NEAR(model.params().as<float>()[i], p[i], 1e-6 * (1 + std::abs(p[i]))) << i;
    ASSERT_NEAR(optimizer.m().as<float>()[i], m[i], 1e-6) << i;
    ASSERT_NEAR(optimizer.v().as<float>()[i], v[i], 1e-6) << i;
  }
}

TEST_F(OptimizerTest, ClippingScalesTheGradientToTheLargestNorm) {
  const OptimConfig optim{.beta1 = 0.0, .beta2 = 0.0, .clip = 0.5};
  for (const float scale : {1.0f, 100.0f}) {
    Optimizer optimizer(optim, model);
    set_gradients(scale);
    const double norm = optimizer.grad_norm(2.0);
    ASSERT_GT(norm, 0.5);
    optimizer.enqueue_update(1e-3, 2.0);
    // With both betas 0, m is the gradient as AdamW saw it.
    double sum = 0;
    for (int64_t i = 0; i < model.grads().numel(); ++i)
      sum += std::pow(double{optimizer.m().as<float>()[i]}, 2);
    EXPECT_NEAR(std::sqrt(sum), 0.5, 1e-6);
  }
  Optimizer optimizer(optim, model);
  set_gradients(1e-3f);
  const double norm = optimizer.grad_norm(2.0);
  ASSERT_LT(norm, 0.5);
  optimizer.enqueue_update(1e-3, 2.0);
  const float* g = model.grads().as<float>();
  for (int64_t i = 0; i < model.grads().numel(); ++i)
    ASSERT_NEAR(optimizer.m().as<float>()[i], g[i] / 2, 1e-6 * std::abs(g[i]));
}

TEST_F(OptimizerTest, ANonFiniteNormIsNeverApplied) {
  randomize(model, 1);
  const std::vector<float> before(model.params().as<float>(),
                                  model.params().as<float>() + model.params().numel());
  Optimizer optimizer(OptimConfig(), model);
  for (const float bad : {NAN, INFINITY}) {
    set_gradients(1.0f);
    model.grad("embed_out.weight").as<float>()[5] = bad;
    optimizer.enqueue_update(1e-3, 1.0);
    EXPECT_FALSE(std::isfinite(optimizer.grad_norm(1.0)));
  }
  EXPECT_NE(error_of([&] { optimizer.enqueue_update(1e-3, 0.0); }), "");
  EXPECT_NE(error_of([&] { optimizer.grad_norm(0.0); }), "");
  EXPECT_EQ(optimizer.updates(), 0);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), model.params().as<float>()));
  Gpt evaluation(config, {.training = false}, device);
  EXPECT_EQ(error_of([&] { Optimizer of(OptimConfig(), evaluation); }),
            "an optimizer needs a model made for training");
}

}  // namespace
}  // namespace midfill
