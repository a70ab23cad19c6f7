// The model on the device `cuda` against the same model on the CPU.
#include <algorithm>
#include <cmath>

#include "src/model/gpt.h"
#include "src/model/host_arena.h"
#include "tests/model/reference_model.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::OwnedBatch;
using test::randomize;

constexpr int64_t kB = 2, kT = 21;

// Two heads of 32, 50 tokens padded to 56; T is no multiple of any tile.
ModelConfig two_layers() {
  return {.n_layers = 2,
          .d_model = 64,
          .n_heads = 2,
          .d_ff = 104,
          .n_ctx = 24,
          .vocab_size = 50,
          .vocab_multiple = 8,
          .rotary_pct = 0.5};
}

struct Result {
  std::vector<float> losses;
  std::vector<std::vector<float>> grads;  // by parameter, in the table's order
  double sum = 0.0;
  int32_t nonfinite = -1;
};

// Two micro-steps of one batch, so that gradients are added to.
Result run(const ModelConfig& config, GptOptions options, const char* device_name,
           bool rounded_weights = false) {
  options.max_batch = kB;
  options.head_chunk = 16;
  Device device(device_name, 1);
  Gpt model(config, options, device);
  randomize(model, 3);
  if (rounded_weights) {
    HostArena weights(device, model.params());
    test::round_to_bf16(weights.tensor());
    weights.store();
    model.refresh_compute_params();
  }
  OwnedBatch batch(5, kB, kT, config.vocab_size), short_batch(6, 1, 9, config.vocab_size);
  for (size_t n = 0; n < batch.weights.size(); ++n)
    batch.weights[n] = 0.25f * static_cast<float>(n % 5);
  batch.targets[0] = -1;  // of weight 0

  Result result;
  result.losses.assign(kB * kT, NAN);
  std::vector<float> short_losses(9);
  model.zero_grads();
  for (int time = 0; time < 2; ++time) {
    result.sum = model.forward_backward(batch.view(), result.losses);
    model.forward_backward(short_batch.view(), short_losses);
  }
  const HostArena grads(device, model.grads());
  for (const Parameter& p : model.table().all()) {
    const float* values = grads.at(p).as<float>();
    result.grads.emplace_back(values, values + p.numel);
  }
  device.download(&result.nonfinite, model.nonfinite());
  return result;
}

double norm(const std::vector<float>& values) {
  double sum = 0;
  for (const float x : values) sum += double{x} * x;
  return std::sqrt(sum);
}

double distance(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return norm(a);
}

std::vector<ModelConfig> forms() {
  ModelConfig sequential = two_layers(), parallel = two_layers();
  parallel.parallel_residual = true;
  parallel.tied_embeddings = true;
  parallel.activation = Activation::gelu_erf;
  return {sequential, parallel};
}

void expect_same(const Result& a, const Result& b) {
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.sum, b.sum);
  ASSERT_EQ(a.grads.size(), b.grads.size());
  for (size_t i = 0; i < a.grads.size(); ++i) EXPECT_EQ(a.grads[i], b.grads[i]) << i;
}

TEST(CudaModel, InF32LossesAndGradientsAreTheCpus) {
  for (const ModelConfig& config : forms()) {
    const Result cpu = run(config, {}, "cpu"), cuda = run(config, {}, "cuda");
    EXPECT_TRUE(std::abs(cuda.sum - cpu.sum) <= 1e-5 * cpu.sum) << cuda.sum << " " << cpu.sum;
    for (size_t n = 0; n < cpu.losses.size(); ++n)
      EXPECT_TRUE(std::abs(cuda.losses[n] - cpu.losses[n]) <= 1e-5 * (1 + cpu.losses[n])) << n;
    const ParameterTable table(config);
    for (size_t i = 0; i < cpu.grads.size(); ++i)
      EXPECT_TRUE(distance(cuda.grads[i], cpu.grads[i]) <= 1e-5 * norm(cpu.grads[i]))
          << table.all()[i].name << ": " << distance(cuda.grads[i], cpu.grads[i]) << " of "
          << norm(cpu.grads[i]);
    EXPECT_EQ(cuda.nonfinite, 0);
  }
}

// The rule for bf16: the error is at most twice that of rounding to bf16, here of the weights
// alone; three times for a single parameter, on whose way to the loss the roundings may fall badly.
TEST(CudaModel, InBf16ErrorsAreThoseOfRounding) {
  for (const ModelConfig& config : forms()) {
    const Result exact = run(config, {}, "cpu"), rounded = run(config, {}, "cpu", true),
                 cuda = run(config, {.dtype = DType::bf16}, "cuda");
    const double of_losses = distance(rounded.losses, exact.losses);
    EXPECT_TRUE(distance(cuda.losses, exact.losses) <= 2 * of_losses)
        << distance(cuda.losses, exact.losses) << ", rounding makes " << of_losses;
    const ParameterTable table(config);
    double all_found = 0, all_rounding = 0;
    for (size_t i = 0; i < exact.grads.size(); ++i) {
      const double found = distance(cuda.grads[i], exact.grads[i]),
                   rounding = distance(rounded.grads[i], exact.grads[i]);
      EXPECT_TRUE(found <= 3 * rounding)
          << table.all()[i].name << ": " << found << ", rounding makes " << rounding;
      all_found += found * found;
      all_rounding += rounding * rounding;
    }
    EXPECT_TRUE(std::sqrt(all_found) <= 2 * std::sqrt(all_rounding));
    EXPECT_EQ(cuda.nonfinite, 0);
  }
}

TEST(CudaModel, RecomputingAndGraphsChangeNoBit) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const ModelConfig& config : forms()) {
      const Result kept = run(config, {.dtype = dtype}, "cuda");
      for (const Recompute recompute : {Recompute::gelu_norm, Recompute::block})
        expect_same(run(config, {.dtype = dtype, .recompute = recompute}, "cuda"), kept);
      expect_same(run(config, {.dtype = dtype, .cuda_graph = true}, "cuda"), kept);
    }
}

TEST(CudaModel, EveryScheduleGivesTheSameBits) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    std::vector<Result> results;
    test::for_each_way(
        [&](int) { results.push_back(run(two_layers(), {.dtype = dtype}, "cuda")); });
    ASSERT_GE(results.size(), 2u);
    for (const Result& result : results) expect_same(result, results.front());
  }
}

TEST(CudaModel, NonfiniteLossesAreFlagged) {
  Device device("cuda", 1);
  Gpt model(two_layers(), {.max_batch = kB}, device);
  randomize(model, 3);
  HostArena weights(device, model.params());
  weights.at(model.table().at("gpt_neox.final_layer_norm.weight")).as<float>()[3] = NAN;
  weights.store();
  OwnedBatch batch(5, kB, kT, 50);
  std::vector<float> losses(kB * kT);
  const auto flag = [&] {
    int32_t value = -1;
    device.download(&value, model.nonfinite());
    return value;
  };
  model.forward_backward(batch.view(), losses);
  EXPECT_EQ(flag(), 1);
  model.zero_grads();
  EXPECT_EQ(flag(), 0);
  batch.weights.assign(batch.weights.size(), 0.0f);
  model.forward_backward(batch.view(), losses);
  EXPECT_EQ(flag(), 0);
}

TEST(CudaModel, NothingGrowsAfterTheFirstStep) {
  Device device("cuda", 1);
  Gpt model(two_layers(), {.max_batch = kB, .dtype = DType::bf16}, device);
  randomize(model, 3);
  OwnedBatch batch(5, kB, kT, 50);
  std::vector<float> losses(kB * kT);
  model.forward_backward(batch.view(), losses);
  const size_t bytes = device.cuda().workspace_bytes();
  model.forward_backward(batch.view(), losses);
  EXPECT_EQ(device.cuda().workspace_bytes(), bytes);
  const auto lines = model.memory();
  const auto line = std::ranges::find(lines, "op workspace, at most", &MemoryLine::name);
  ASSERT_NE(line, lines.end());
  EXPECT_LE(bytes, static_cast<size_t>(line->bytes));
}

TEST(CudaModel, RefusesShapesThatItsKernelsDoNotTake) {
  Device cuda("cuda", 1), cpu("cpu", 1);
  const auto error = [&](auto change, DType dtype = DType::f32) {
    ModelConfig config = two_layers();
    change(config);
    return error_of([&] { Gpt(config, {.dtype = dtype}, cuda); });
  };
  EXPECT_EQ(error([](ModelConfig& c) { c.d_model = 66, c.rotary_pct = 1.0; }),
            "model.d_model is 66, expected a multiple of 8 on the device cuda");
  EXPECT_EQ(error([](ModelConfig& c) { c.d_ff = 100; }),
            "model.d_ff is 100, expected a multiple of 8 on the device cuda");
  EXPECT_EQ(error([](ModelConfig& c) { c.vocab_multiple = 1; }),
            "model.vocab_size 50 is padded to 50 rows, expected a multiple of 8 on the device "
            "cuda: set model.vocab_multiple to 64");
  EXPECT_EQ(error([](ModelConfig& c) { c.n_heads = 4; }, DType::bf16),
            "model.d_model 64 over model.n_heads 4 gives heads of 16, expected 32, 64, 96 or 128 "
            "on the device cuda");
  EXPECT_EQ(error_of([&] { Gpt(two_layers(), {.dtype = DType::bf16}, cpu); }),
            "dtype is bf16, expected f32 on the device cpu (train.dtype or --dtype), or --device "
            "cuda");
}

}  // namespace
}  // namespace midfill
