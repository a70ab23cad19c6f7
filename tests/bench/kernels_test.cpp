#include "src/bench/kernels.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/bench/emulated.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using testing::HasSubstr;
using testing::Not;

const Case& find(const std::vector<Case>& cases, const std::string& op,
                 const std::string& variant) {
  const auto found = std::ranges::find_if(
      cases, [&](const Case& c) { return c.op == op && c.variant == variant; });
  require(found != cases.end(), "no case {} {}", op, variant);
  return *found;
}

// One short run of each op, in small shapes.
KernelBench quick() {
  return {.ops = {},
          .device = "cpu",
          .dtype = "",
          .sizes = {"B=2", "T=24", "C=32", "NH=2", "R=8", "F=40", "V=50", "chunk=9", "n=1000"},
          .threads = 1,
          .rule = {.min_ms = 0, .min_runs = 1, .warmup = 0}};
}

// docs/performance.md and what others publish count like this.
TEST(KernelCases, CountOperationsAndBytesOfTheReferenceModel) {
  const std::vector<Case> cases = kernel_cases({}, Shape(), DType::bf16);
  EXPECT_NEAR(find(cases, "attention forward", "causal").flop, 137.4e9, 0.1e9);
  EXPECT_NEAR(find(cases, "attention backward", "causal").flop, 343.6e9, 0.1e9);
  EXPECT_NEAR(find(cases, "linear forward", "qkv bias").flop, 412.3e9, 0.1e9);
  EXPECT_NEAR(find(cases, "linear backward", "qkv").flop, 824.6e9, 0.1e9);
  EXPECT_NEAR(find(cases, "linear forward", "down bias residual").flop, 549.8e9, 0.1e9);
  EXPECT_NEAR(find(cases, "linear forward", "head").flop, 844e9, 0.1e9);
  constexpr double kUnit = 16384.0 * 2048 * 2;  // a residual stream
  EXPECT_EQ(find(cases, "layernorm forward", "").bytes, 2 * kUnit);
  EXPECT_EQ(find(cases, "layernorm backward", "residual").bytes, 5 * kUnit);
  EXPECT_EQ(find(cases, "gelu forward", "tanh bias").bytes, 8 * kUnit);
  EXPECT_EQ(find(cases, "gelu backward", "erf bias").bytes, 12 * kUnit);
  EXPECT_EQ(find(cases, "attention forward", "causal").bytes, 4 * kUnit);
  EXPECT_EQ(find(cases, "cross-entropy forward+backward", "in place").bytes,
            3.0 * 4096 * 50304 * 2);
  EXPECT_EQ(find(cases, "grad-norm", "").bytes, 4.0 * 1414647808);
}

TEST(KernelCases, AreThoseOfTheOpsNamed) {
  const auto names = [](const std::vector<std::string>& ops) {
    std::vector<std::string> found;
    for (const Case& c : kernel_cases(ops, Shape(), DType::f32))
      found.push_back(c.op + "|" + c.shape_text());
    return found;
  };
  EXPECT_THAT(
      names({"layernorm", "grad-norm"}),
      testing::ElementsAre("layernorm forward|N=16384 C=2048",
                           "layernorm backward|N=16384 C=2048 residual", "grad-norm|n=1414647808"));
  // The name and the shape tell any two apart, for those who compare reports.
  std::vector<std::string> all = names({});
  std::ranges::sort(all);
  EXPECT_EQ(std::ranges::adjacent_find(all), all.end());
  EXPECT_THAT(test::error_of([&] { names({"layer"}); }),
              HasSubstr("unknown op layer, expected embedding, layernorm,"));
}

TEST(Shape, RefusesWhatIsNoSize) {
  const auto refusal = [](const std::vector<std::string>& sizes) {
    return test::error_of([&] { Shape().set(sizes); });
  };
  EXPECT_THAT(refusal({"Q=3"}), HasSubstr("expected KEY=SIZE, KEY one of B, T,"));
  EXPECT_THAT(refusal({"C"}), HasSubstr("expected KEY=SIZE"));
  EXPECT_THAT(refusal({""}), HasSubstr("expected KEY=SIZE"));
  for (const char* text : {"C=", "C=-8", "C=0", "C=8x", "C=1e3", "C=99999999999999999999"})
    EXPECT_THAT(refusal({text}), HasSubstr("expected a whole number from 1 to 1048576")) << text;
  EXPECT_THAT(refusal({"C=100", "NH=3"}), HasSubstr("NH is 3, expected a divisor of C, 100"));
  EXPECT_THAT(refusal({"R=3"}), HasSubstr("R is 3, expected an even number"));
  Shape s;
  s.set({"C=100", "NH=10", "R=0"});  // in any order, checked at the end
  EXPECT_EQ(s.HS(), 10);
}

TEST(KernelBench, MeasuresEveryOpOnTheCpu) {
  const Json report = run_kernel_bench(quick(), /*measure=*/true);
  EXPECT_EQ(report.at("results").size(), kernel_cases({}, Shape(), DType::f32).size());
  EXPECT_GT(report.at("ceilings").at("copy_gb_per_s"), 0);
  EXPECT_GT(report.at("ceilings").at("gemm_tflops"), 0);
  for (const Json& result : report.at("results")) {
    EXPECT_GT(result.at("ms"), 0) << result;
    EXPECT_LE(result.at("ms_p20"), result.at("ms_p80")) << result;
    EXPECT_GT(result.at("gb_per_s"), 0) << result;
    EXPECT_GT(result.at("of_ceiling"), 0) << result;
    EXPECT_TRUE(result.at("of_datasheet").is_null()) << result;
    EXPECT_EQ(result.at("vs_plain").is_null(),
              !result.at("op").get<std::string>().starts_with("linear"))
        << result;
  }
  const std::string text = kernel_bench_text(report);
  EXPECT_THAT(text, HasSubstr("1 threads"));
  EXPECT_THAT(text, HasSubstr("| layernorm backward "));
  EXPECT_THAT(text, HasSubstr("| N=48 C=32 residual "));
  EXPECT_THAT(text, HasSubstr("vs OpenBLAS"));
}

TEST(KernelBench, SaysNoSpeedsOnTheEmulation) {
  if (!test::emulated()) GTEST_SKIP() << "the device cuda is not there, or a GPU";
  KernelBench options = quick();
  options.device = "cuda";
  options.sizes.clear();  // the smallest that cuda takes
  options.dtype = "f32";
  const Json report = run_kernel_bench(options, /*measure=*/true);
  EXPECT_EQ(report.at("results").size(), kernel_cases({}, Shape(), DType::f32).size());
  for (const Json& result : report.at("results")) {
    EXPECT_GT(result.at("ms"), 0) << result;
    EXPECT_FALSE(result.contains("tflops") || result.contains("gb_per_s")) << result;
  }
  EXPECT_FALSE(report.contains("ceilings"));
  EXPECT_THAT(kernel_bench_text(report), HasSubstr("emulated: times mean nothing"));
}

TEST(KernelBench, TakesBf16OnCuda) {
  if (!test::emulated()) GTEST_SKIP() << "the device cuda is not there, or a GPU";
  KernelBench options = quick();
  options.device = "cuda";  // whose default is bf16
  options.sizes.clear();
  options.ops = {"embedding", "layernorm", "gelu", "decode", "linear", "cross-entropy", "adamw"};
  const Json report = run_kernel_bench(options, /*measure=*/true);
  for (const Json& result : report.at("results"))
    EXPECT_EQ(result.at("dtype"), result.at("op") == "adamw update" ? "f32" : "bf16") << result;
  EXPECT_EQ(report.at("results").back().at("variant"), "bf16 weights");
}

TEST(KernelBench, ListsWithoutMeasuring) {
  KernelBench options = quick();
  options.ops = {"gelu"};
  const Json report = run_kernel_bench(options, /*measure=*/false);
  EXPECT_EQ(report.at("results").size(), 4);
  EXPECT_FALSE(report.at("results").front().contains("ms"));
  EXPECT_THAT(kernel_bench_text(report), Not(HasSubstr("TFLOP/s")));
}

TEST(KernelBench, RefusesWhatTheDeviceCannot) {
  KernelBench options = quick();
  options.dtype = "bf16";
  EXPECT_EQ(test::error_of([&] { run_kernel_bench(options, false); }),
            "--dtype bf16: the CPU computes in f32");
  options.dtype = "f16";
  EXPECT_EQ(test::error_of([&] { run_kernel_bench(options, false); }),
            "--dtype f16: expected f32 or bf16");
}

}  // namespace
}  // namespace midfill
