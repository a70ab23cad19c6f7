#include "src/bench/step.h"

#include <gmock/gmock.h>

#include <cmath>

#include "src/bench/marks.h"
#include "src/model/parameters.h"
#include "tests/bench/emulated.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using testing::HasSubstr;

StepBench tiny() {
  StepBench bench;
  bench.config.model.n_layers = 1;
  bench.config.model.d_model = 64;
  bench.config.model.n_heads = 2;
  bench.config.model.d_ff = 64;
  bench.config.model.vocab_size = 96;
  bench.config.model.n_ctx = 16;
  bench.config.model.rotary_pct = 0.5;
  bench.config.train.micro_batch = 2;
  bench.steps = 2;
  bench.warmup = 1;
  return bench;
}

TEST(Marks, AreTheTimesBetweenThem) {
  Device device("cpu", 1);
  Marks marks(device);
  for (int i = 0; i < 3; ++i) marks.mark();
  const std::vector<double> first = marks.intervals();
  EXPECT_EQ(first.size(), 2);
  for (double time : first) EXPECT_GE(time, 0.0);
  marks.mark();
  marks.mark();
  EXPECT_EQ(marks.intervals().size(), 1) << "earlier marks are forgotten";
}

TEST(StepBench, ReportsRatesPartsAndSettings) {
  const StepBench bench = tiny();
  const Json report = run_step_bench(bench, /*measure=*/true);
  for (const char* key :
       {"tokens_per_s", "tokens_per_s_p20", "tokens_per_s_p80", "tokens_per_s_best",
        "gflops_causal", "gflops_full", "mfu_causal", "mfu_full", "peak_tflops", "ms_step",
        "ms_zero_grads", "ms_forward_backward", "ms_clip_adamw", "parameters", "threads",
        "peak_rss_mib"})
    EXPECT_GT(report.at(key), 0) << key;
  EXPECT_LE(report.at("tokens_per_s_p20"), report.at("tokens_per_s_p80"));
  const FlopsPerToken flops = flops_per_token(bench.config.model);
  EXPECT_NEAR(report.at("gflops_causal").get<double>(),
              report.at("tokens_per_s").get<double>() * flops.causal * 1e-9, 1e-9);
  // Random tokens against small weights: about even odds.
  EXPECT_NEAR(report.at("loss_first").get<double>(), std::log(96.0), 0.6);
  EXPECT_EQ(report.at("model").at("d_model"), 64);
  EXPECT_THAT(step_bench_text(report), HasSubstr("tokens_per_s "));
}

TEST(StepBench, TakesSeveralMicroBatches) {
  StepBench bench = tiny();
  bench.accumulate = 3;
  const Json report = run_step_bench(bench, true);
  EXPECT_NEAR(report.at("tokens_per_s").get<double>() * report.at("ms_step").get<double>() / 1e3,
              3 * 2 * 16, 1e-6);
  EXPECT_NEAR(report.at("loss_first").get<double>(), std::log(96.0), 0.6);
}

TEST(StepBench, SaysNoSpeedsOnTheEmulation) {
  if (!test::emulated()) GTEST_SKIP() << "the device cuda is not there, or a GPU";
  StepBench bench = tiny();
  bench.device = "cuda";
  const Json report = run_step_bench(bench, true);
  EXPECT_GT(report.at("ms_step"), 0);
  EXPECT_GT(report.at("peak_device_mib"), 0);
  EXPECT_FALSE(report.contains("tokens_per_s") || report.contains("mfu_causal"));
  EXPECT_THAT(step_bench_text(report), HasSubstr("emulated: times mean nothing"));
  // The same model and tokens as on the CPU.
  EXPECT_NEAR(report.at("loss_first").get<double>(),
              run_step_bench(tiny(), true).at("loss_first").get<double>(), 1e-5);
}

TEST(StepBench, ListsWithoutMeasuring) {
  const Json report = run_step_bench(tiny(), /*measure=*/false);
  EXPECT_FALSE(report.contains("ms_step"));
  EXPECT_EQ(report.at("batch"), 2);
}

TEST(StepBench, RefusesWhatARunRefuses) {
  StepBench bench = tiny();
  bench.config.model.n_heads = 3;
  EXPECT_THAT(test::error_of([&] { run_step_bench(bench, true); }), HasSubstr("n_heads is 3"));
  bench = tiny();
  bench.config.train.dtype = DType::bf16;
  EXPECT_THAT(test::error_of([&] { run_step_bench(bench, true); }), HasSubstr("train.dtype"));
}

}  // namespace
}  // namespace midfill
