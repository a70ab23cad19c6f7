#include "src/model/gpt.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/rng.h"
#include "tests/model/reference_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::OwnedBatch;
using test::randomize;
using test::ReferenceModel;

// 9 tokens padded to 12, three heads of 8.
ModelConfig tiny() {
  return {.n_layers = 2,
          .d_model = 24,
          .n_heads = 3,
          .d_ff = 36,
          .n_ctx = 7,
          .vocab_size = 9,
          .vocab_multiple = 4};
}

std::vector<float> copy_of(Tensor t) {
  return {t.as<float>(), t.as<float>() + t.numel()};
}

// Gradients of a whole batch in `parts` micro-batches.
std::vector<float> gradients(Gpt& model, OwnedBatch& batch, int64_t parts = 1,
                             std::vector<float>* losses = nullptr) {
  std::vector<float> token_losses(batch.B * batch.T, NAN);
  model.zero_grads();
  const int64_t rows = batch.B / parts;
  for (int64_t part = 0; part < parts; ++part)
    model.forward_backward(batch.rows(part * rows, (part + 1) * rows),
                           std::span(token_losses).subspan(part * rows * batch.T, rows * batch.T));
  if (losses) *losses = token_losses;
  return copy_of(model.grads());
}

// What the order of f32 sums makes of gradients, relative to the largest, with the large weights of
// randomize().
constexpr double kRounding = 5e-6;

// Largest difference over the largest magnitude, NaN being the largest difference there is.
double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(double{a[i]} - double{b[i]});
    if (!(d <= difference)) difference = std::isnan(d) ? INFINITY : d;
    scale = std::max(scale, std::abs(double{b[i]}));
  }
  return difference / scale;
}

struct Variant {
  bool parallel, tied;
  Activation activation;
  double rotary_pct;
};

std::string name_of(const testing::TestParamInfo<Variant>& info) {
  const Variant& v = info.param;
  return fmt::format(
      "{}_{}_{}_rotary{}", v.parallel ? "parallel" : "sequential", v.tied ? "tied" : "untied",
      v.activation == Activation::gelu_tanh ? "tanh" : "erf", static_cast<int>(100 * v.rotary_pct));
}

std::vector<Variant> all_variants() {
  std::vector<Variant> variants;
  for (const bool parallel : {false, true})
    for (const bool tied : {false, true})
      for (const auto activation : {Activation::gelu_tanh, Activation::gelu_erf})
        for (const double rotary_pct : {0.0, 0.25, 1.0})
          variants.push_back({parallel, tied, activation, rotary_pct});
  return variants;
}

class EveryVariant : public testing::TestWithParam<Variant> {
 protected:
  ModelConfig config() const {
    ModelConfig c = tiny();
    c.parallel_residual = GetParam().parallel;
    c.tied_embeddings = GetParam().tied;
    c.activation = GetParam().activation;
    c.rotary_pct = GetParam().rotary_pct;  // head size 8: 0, 2 or 8 dims
    return c;
  }
};

INSTANTIATE_TEST_SUITE_P(Gpt, EveryVariant, testing::ValuesIn(all_variants()), name_of);

TEST_P(EveryVariant, LossesAgreeWithTheDefinition) {
  Device device("cpu", 2);
  for (const bool training : {true, false}) {
    Gpt model(config(), {.max_batch = 3, .training = training, .head_chunk = 5}, device);
    randomize(model, 1);
    for (const int64_t T : {7, 1, 4}) {
      OwnedBatch batch(2, 3, T, 9);
      std::vector<float> losses(3 * T, NAN);
      const double sum = model.forward(batch.view(), losses);
      const ReferenceModel reference(model);
      const std::vector<double> expected = reference.losses(batch);
      for (size_t n = 0; n < losses.size(); ++n)
        EXPECT_NEAR(losses[n], expected[n], 2e-5 * (1 + expected[n])) << "T " << T << " row " << n;
      EXPECT_NEAR(sum, reference.loss(batch), 1e-4);
    }
  }
}

// Central differences of the double model: their own error is about 1e-9.
TEST_P(EveryVariant, GradientsAreFiniteDifferencesOfTheDefinition) {
  Device device("cpu", 2);
  Gpt model(config(), {.max_batch = 2, .head_chunk = 5}, device);
  randomize(model, 3);
  OwnedBatch batch(4, 2, 7, 9);
  for (size_t n = 0; n < batch.weights.size(); ++n)
    batch.weights[n] = 0.25f * static_cast<float>(n % 5);
  gradients(model, batch);
  ReferenceModel reference(model);

  for (const Parameter& p : model.table().all()) {
    const float* gradient = model.grad(p.name).as<float>();
    float scale = 0;
    for (int64_t i = 0; i < p.numel; ++i) scale = std::max(scale, std::abs(gradient[i]));
    Rng rng(5, Purpose::kTest, 0, p.offset);
    for (int draw = 0; draw < 6; ++draw) {
      const auto i = static_cast<int64_t>(rng.below(p.numel));
      double& x = reference.param(p.name)[i];
      const double kept = x, step = 1e-5;
      x = kept + step;
      const double above = reference.loss(batch);
      x = kept - step;
      const double below = reference.loss(batch);
      x = kept;
      EXPECT_NEAR(gradient[i], (above - below) / (2 * step), 2e-5 * scale + 1e-6)
          << p.name << " element " << i;
    }
  }
}

// What is computed again is what was there, bit for bit.
TEST_P(EveryVariant, RecomputingChangesNoBit) {
  Device device("cpu", 2);
  std::vector<float> losses, same_losses;
  OwnedBatch batch(4, 2, 7, 9);
  Gpt model(config(), {.max_batch = 2, .head_chunk = 5}, device);
  randomize(model, 3);
  const auto expected = gradients(model, batch, 1, &losses);
  for (const Recompute recompute : {Recompute::gelu_norm, Recompute::block}) {
    Gpt again(config(), {.max_batch = 2, .head_chunk = 5, .recompute = recompute}, device);
    randomize(again, 3);
    EXPECT_EQ(gradients(again, batch, 1, &same_losses), expected);
    EXPECT_EQ(same_losses, losses);
  }
}

class GptTest : public testing::Test {
 protected:
  Device device{"cpu", 2};
};

TEST_F(GptTest, EvaluationAndTrainingGiveTheSameLosses) {
  ModelConfig config = tiny();
  for (const bool parallel : {false, true}) {
    config.parallel_residual = parallel;
    Gpt training(config, {.max_batch = 4}, device);
    Gpt evaluation(config, {.max_batch = 4, .training = false}, device);
    randomize(training, 1);
    randomize(evaluation, 1);
    OwnedBatch batch(2, 4, 7, 9);
    std::vector<float> a(28), b(28), c(28);
    training.forward_backward(batch.view(), a);
    training.forward(batch.view(), b);
    evaluation.forward(batch.view(), c);
    EXPECT_EQ(a, b);
    EXPECT_EQ(a, c);
  }
}

TEST_F(GptTest, MicroBatchesAddUpToTheSameGradients) {
  for (const bool parallel : {false, true}) {
    ModelConfig config = tiny();
    config.parallel_residual = parallel;
    Gpt model(config, {.max_batch = 8}, device);
    randomize(model, 1);
    OwnedBatch batch(2, 8, 7, 9);
    std::vector<float> losses, losses_of_parts;
    const auto whole = gradients(model, batch, 1, &losses);
    for (const int64_t parts : {4, 8}) {
      EXPECT_LE(relative_difference(gradients(model, batch, parts, &losses_of_parts), whole),
                kRounding);
      EXPECT_LE(relative_difference(losses_of_parts, losses), kRounding);
    }
  }
}

TEST_F(GptTest, ChunksOfTheHeadChangeNothing) {
  Gpt whole(tiny(), {.max_batch = 3}, device);
  randomize(whole, 1);
  OwnedBatch batch(2, 3, 7, 9);
  std::vector<float> losses, losses_of_chunks;
  const auto expected = gradients(whole, batch, 1, &losses);
  for (const int chunk : {1, 4, 20, 21, 22}) {
    Gpt model(tiny(), {.max_batch = 3, .head_chunk = chunk}, device);
    randomize(model, 1);
    EXPECT_LE(relative_difference(gradients(model, batch, 1, &losses_of_chunks), expected),
              kRounding)
        << chunk;
    EXPECT_LE(relative_difference(losses_of_chunks, losses), kRounding) << chunk;
  }
}

TEST_F(GptTest, BackwardAddsToTheGradients) {
  Gpt model(tiny(), {.max_batch = 2}, device);
  randomize(model, 1);
  OwnedBatch batch(2, 2, 7, 9);
  auto twice = gradients(model, batch);
  for (float& g : twice) g *= 2;
  std::vector<float> losses(14);
  model.forward_backward(batch.view(), losses);
  EXPECT_LE(relative_difference(copy_of(model.grads()), twice), kRounding);
}

TEST_F(GptTest, ATokenOfWeightZeroIsIgnored) {
  Gpt model(tiny(), {.max_batch = 2}, device);
  randomize(model, 1);
  OwnedBatch batch(2, 2, 7, 9);
  for (const int n : {0, 6, 9}) batch.weights[n] = 0;
  std::vector<float> losses, same_losses;
  const auto expected = gradients(model, batch, 1, &losses);
  for (const int n : {0, 6, 9}) {
    EXPECT_EQ(losses[n], 0.0f);
    batch.targets[n] = 1'000'000;  // not looked at
  }
  EXPECT_EQ(gradients(model, batch, 1, &same_losses), expected);
  EXPECT_EQ(losses, same_losses);

  std::fill(batch.weights.begin(), batch.weights.end(), 0.0f);
  for (const float g : gradients(model, batch)) ASSERT_EQ(g, 0.0f);
}

TEST_F(GptTest, PaddedVocabularyHasNoPartInAnything) {
  for (const bool tied : {false, true}) {
    ModelConfig config = tiny();
    config.tied_embeddings = tied;
    Gpt model(config, {.max_batch = 2}, device);
    randomize(model, 1);
    OwnedBatch batch(2, 2, 7, 9);
    std::vector<float> losses, same_losses;
    gradients(model, batch, 1, &losses);
    const std::string head = tied ? "gpt_neox.embed_in.weight" : "embed_out.weight";
    for (const std::string& name : {std::string("gpt_neox.embed_in.weight"), head}) {
      const Tensor padding = model.grad(name).rows(9, 12);
      for (const float g : copy_of(padding)) EXPECT_EQ(g, 0.0f) << name;
      const Tensor weights = model.param(name).rows(9, 12);
      std::fill_n(weights.as<float>(), weights.numel(), 100.0f);  // large, and without effect
    }
    gradients(model, batch, 1, &same_losses);
    EXPECT_EQ(losses, same_losses);
  }
}

TEST_F(GptTest, LaterTokensDoNotChangeEarlierLosses) {
  Gpt model(tiny(), {.max_batch = 1}, device);
  randomize(model, 1);
  OwnedBatch batch(2, 1, 7, 9);
  std::vector<float> losses(7), changed(7);
  model.forward(batch.view(), losses);
  batch.ids[4] = (batch.ids[4] + 1) % 9;
  model.forward(batch.view(), changed);
  for (int t = 0; t < 4; ++t) EXPECT_NEAR(losses[t], changed[t], 1e-6) << t;
  EXPECT_GT(std::abs(losses[4] - changed[4]), 1e-4);
}

TEST_F(GptTest, SameInputTwiceIsBitIdentical) {
  Gpt model(tiny(), {.max_batch = 4}, device);
  randomize(model, 1);
  OwnedBatch batch(2, 4, 7, 9);
  std::vector<float> losses, same_losses;
  const auto first = gradients(model, batch, 1, &losses);
  OwnedBatch other(9, 2, 3, 9);  // leaves other activations behind
  gradients(model, other);
  EXPECT_EQ(gradients(model, batch, 1, &same_losses), first);
  EXPECT_EQ(losses, same_losses);
}

TEST_F(GptTest, AnEnqueuedMicroStepIsTheSame) {
  Gpt model(tiny(), {.max_batch = 4}, device);
  randomize(model, 1);
  OwnedBatch batch(2, 4, 7, 9);
  std::vector<float> losses, same_losses(28, NAN);
  const auto expected = gradients(model, batch, 1, &losses);
  model.zero_grads();
  model.enqueue_forward_backward(batch.view(), same_losses.data());
  device.synchronize();
  EXPECT_EQ(copy_of(model.grads()), expected);
  EXPECT_EQ(same_losses, losses);
  double sum = 0;
  for (size_t n = 0; n < losses.size(); ++n) sum += double{batch.weights[n]} * losses[n];
  EXPECT_EQ(weighted_sum(batch.view(), losses), sum);
}

TEST_F(GptTest, NonfiniteRemembersUntilTheGradientsAreZeroed) {
  Gpt model(tiny(), {.max_batch = 1}, device);
  randomize(model, 1);
  OwnedBatch good(2, 1, 7, 9), bad(2, 1, 7, 9);
  good.ids.assign(7, 1);
  bad.ids.assign(7, 2);
  std::fill_n(model.param("gpt_neox.embed_in.weight").rows(2, 3).as<float>(), 24, INFINITY);
  std::vector<float> losses(7);
  const auto after = [&](OwnedBatch& batch) {
    model.forward_backward(batch.view(), losses);
    return *model.nonfinite().as<int32_t>();
  };
  EXPECT_EQ(*model.nonfinite().as<int32_t>(), 0);
  EXPECT_EQ(after(good), 0);
  EXPECT_EQ(after(bad), 1);
  EXPECT_EQ(after(good), 1);
  model.zero_grads();
  EXPECT_EQ(*model.nonfinite().as<int32_t>(), 0);
  bad.weights.assign(7, 0.0f);
  EXPECT_EQ(after(bad), 0);
}

TEST_F(GptTest, ANonFiniteWeightShowsInTheLoss) {
  Gpt model(tiny(), {.max_batch = 1}, device);
  randomize(model, 1);
  model.param("gpt_neox.layers.1.mlp.dense_4h_to_h.weight").as<float>()[3] =
      std::numeric_limits<float>::quiet_NaN();
  OwnedBatch batch(2, 1, 7, 9);
  std::vector<float> losses(7);
  EXPECT_FALSE(std::isfinite(model.forward_backward(batch.view(), losses)));
}

TEST_F(GptTest, RefusesWrongBatches) {
  Gpt model(tiny(), {.max_batch = 2}, device);
  randomize(model, 1);
  std::vector<float> losses(14);
  const auto with = [&](auto change) {
    OwnedBatch batch(2, 2, 7, 9);
    change(batch);
    return error_of([&] { model.forward_backward(batch.view(), losses); });
  };
  EXPECT_EQ(with([](OwnedBatch& b) { b.ids[9] = 9; }),
            "batch: id of sample 1, position 2 is 9, expected a token id below 9");
  EXPECT_EQ(with([](OwnedBatch& b) { b.ids[0] = -1; }),
            "batch: id of sample 0, position 0 is -1, expected a token id below 9");
  EXPECT_EQ(with([](OwnedBatch& b) { b.targets[13] = 11; }),
            "batch: target of sample 1, position 6 is 11, expected a token id below 9");
  EXPECT_EQ(with([](OwnedBatch& b) { b = OwnedBatch(2, 3, 7, 9); }),
            "batch: ids are (3, 7), expected at most (2, 7) and at least one token");
  EXPECT_EQ(with([](OwnedBatch& b) { b = OwnedBatch(2, 2, 8, 9); }),
            "batch: ids are (2, 8), expected at most (2, 7) and at least one token");
  EXPECT_EQ(with([](OwnedBatch& b) { b = OwnedBatch(2, 1, 7, 9); }),
            "batch: room for 14 losses, expected 7");

  Gpt evaluation(tiny(), {.max_batch = 2, .training = false}, device);
  OwnedBatch batch(2, 2, 7, 9);
  EXPECT_EQ(error_of([&] { evaluation.forward_backward(batch.view(), losses); }),
            "forward_backward: the model was not made for training");
  EXPECT_EQ(error_of([&] { evaluation.grad("embed_out.weight"); }),
            "gradient of embed_out.weight: the model was not made for training");
  EXPECT_EQ(error_of([&] { Gpt(tiny(), {.max_batch = 0}, device); }),
            "a model needs max_batch > 0, found 0");
}

TEST_F(GptTest, NothingGrowsAfterTheFirstStep) {
  Gpt model(tiny(), {.max_batch = 4, .head_chunk = 8}, device);
  randomize(model, 1);
  OwnedBatch batch(2, 4, 7, 9);
  gradients(model, batch);
  const size_t workspace = device.cpu().workspace_bytes();
  for (int step = 0; step < 3; ++step) gradients(model, batch);
  EXPECT_EQ(device.cpu().workspace_bytes(), workspace);
}

TEST_F(GptTest, MemoryIsKnownWithoutAllocating) {
  const ModelConfig large{.n_layers = 24,
                          .d_model = 2048,
                          .n_heads = 16,
                          .d_ff = 8192,
                          .n_ctx = 2048,
                          .vocab_size = 50280};
  const auto bytes = [&](const GptOptions& options, std::string_view name) {
    for (const MemoryLine& line : Gpt::memory(large, options))
      if (line.name == name) return line.bytes;
    return int64_t{-1};
  };
  const GptOptions training{.max_batch = 8}, evaluation{.max_batch = 8, .training = false};
  EXPECT_EQ(bytes(training, "weights"), 4 * ParameterTable(large).arena_numel());
  EXPECT_EQ(bytes(training, "gradients"), bytes(training, "weights"));
  EXPECT_EQ(bytes(training, "moments"), 2 * bytes(training, "weights"));
  EXPECT_EQ(bytes(evaluation, "gradients"), -1);
  // Per layer and token: x, ln1, attention, mid, ln2 of width C, qkv of 3 C, up and gelu of F.
  const int64_t N = 8 * 2048, per_token = 4 * (5 * 2048 + 3 * 2048 + 2 * 8192);
  EXPECT_NEAR(static_cast<double>(bytes(training, "activations")),
              24.0 * static_cast<double>(N * per_token), 0.02 * 24.0 * N * per_token);
  EXPECT_LT(bytes(evaluation, "activations"), bytes(training, "activations") / 20);
  // A chunk of logits and the gradients of a block are never there together.
  EXPECT_EQ(bytes(training, "scratch and logits chunk"),
            std::max<int64_t>(4 * 4096 * 50280, 4 * N * 8192));

  // bf16: a second copy of the weights; half the activations but for the statistics. Recomputing
  // keeps x, attention, mid, qkv and up of each layer; or x alone.
  const auto activations = [&](DType dtype, Recompute recompute) {
    return static_cast<double>(
        bytes({.max_batch = 8, .dtype = dtype, .recompute = recompute}, "activations"));
  };
  const GptOptions bf16{.max_batch = 8, .dtype = DType::bf16};
  EXPECT_EQ(bytes(bf16, "weights"), bytes(training, "weights"));
  EXPECT_EQ(bytes(bf16, "weights in bf16"), bytes(training, "weights") / 2);
  EXPECT_EQ(bytes(bf16, "gradients"), bytes(training, "gradients"));
  const double all = activations(DType::bf16, Recompute::none);
  EXPECT_NEAR(all, activations(DType::f32, Recompute::none) / 2, 0.01 * all);
  EXPECT_NEAR(activations(DType::bf16, Recompute::gelu_norm), 24.0 * N * 2 * (6 * 2048 + 8192),
              0.03 * all);
  EXPECT_NEAR(activations(DType::bf16, Recompute::block), 24.0 * N * 2 * 2048 + all / 24,
              0.03 * all);

  Gpt model(tiny(), {.max_batch = 2}, device);
  const auto live = model.memory(), computed = Gpt::memory(tiny(), {.max_batch = 2});
  ASSERT_EQ(live.size(), computed.size());
  for (size_t i = 0; i < live.size(); ++i) EXPECT_EQ(live[i].bytes, computed[i].bytes);
}

}  // namespace
}  // namespace midfill
