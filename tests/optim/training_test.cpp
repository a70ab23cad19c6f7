// Model and optimizer together: they learn, and they always learn the same.
#include <cmath>
#include <vector>

#include "src/optim/optimizer.h"
#include "tests/model/reference_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::OwnedBatch;

ModelConfig small() {
  return {.n_layers = 2,
          .d_model = 32,
          .n_heads = 2,
          .d_ff = 64,
          .n_ctx = 16,
          .vocab_size = 50,
          .vocab_multiple = 8,
          .rotary_pct = 0.5};
}

// Losses of `steps` steps over batches of 4 samples; `different` batches are used in turn.
std::vector<double> train(const ModelConfig& config, int steps, uint64_t different, double lr,
                          std::vector<float>* weights = nullptr, int threads = 2) {
  Device device("cpu", threads);
  Gpt model(config, {.max_batch = 4, .head_chunk = 24}, device);
  init_parameters(model.device().cpu(), model.table(), config, 11, model.params());
  Optimizer optimizer(OptimConfig(), model);
  std::vector<double> losses;
  std::vector<float> token_losses(4 * config.n_ctx);
  const auto total_weight = static_cast<double>(token_losses.size());
  for (int step = 0; step < steps; ++step) {
    OwnedBatch batch(100 + step % different, 4, config.n_ctx, config.vocab_size);
    model.zero_grads();
    losses.push_back(model.forward_backward(batch.view(), token_losses) / total_weight);
    optimizer.enqueue_update(lr, total_weight);
  }
  if (weights)
    weights->assign(model.params().as<float>(),
                    model.params().as<float>() + model.params().numel());
  return losses;
}

TEST(Training, OverfitsOneBatch) {
  for (const bool parallel : {false, true})
    for (const bool tied : {false, true}) {
      ModelConfig config = small();
      config.parallel_residual = parallel;
      config.tied_embeddings = tied;
      const auto losses = train(config, 300, 1, 1e-2);
      EXPECT_NEAR(losses.front(), std::log(50.0), 0.1);
      EXPECT_LT(losses.back(), 0.05) << (parallel ? "parallel" : "sequential");
    }
}

TEST(Training, TheSameSeedTwiceIsBitIdentical) {
  std::vector<float> first, second;
  EXPECT_EQ(train(small(), 10, 10, 1e-2, &first), train(small(), 10, 10, 1e-2, &second));
  EXPECT_EQ(first, second);
}

TEST(Training, ThreadsChangeOnlyTheRounding) {
  const auto one = train(small(), 10, 10, 1e-2, nullptr, 1);
  const auto three = train(small(), 10, 10, 1e-2, nullptr, 3);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], three[i], 1e-4 * one[i]);
}

// Twenty steps, recorded. A refactoring keeps them; a change of the model, of its initial weights
// or of the optimizer shows here. The tolerance is what the BLAS kernels of different machines and
// the order of their sums may make of twenty steps; on one machine they agree to the bit.
TEST(Training, Signature) {
  const std::vector<double> recorded = {3.9112494, 3.9086665, 3.7281279, 3.6741182, 3.5373434,
                                        3.4680405, 3.3590968, 3.3213013, 3.0914896, 3.1662181,
                                        2.8369186, 2.8811118, 2.6041781, 2.6631557, 2.3453424,
                                        2.4275729, 2.0652648, 2.1837602, 1.8142759, 1.9168838};
  const auto losses = train(small(), 20, 2, 1e-2);
  ASSERT_EQ(losses.size(), recorded.size());
  for (size_t i = 0; i < recorded.size(); ++i)
    EXPECT_NEAR(losses[i], recorded[i], 1e-4 * recorded[i]) << "step " << i + 1;
}

}  // namespace
}  // namespace midfill
