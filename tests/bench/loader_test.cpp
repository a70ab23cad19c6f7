#include "src/bench/loader.h"

#include <gmock/gmock.h>

#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names(const std::vector<std::string>& of) {
  std::vector<std::string> found;
  for (const LoaderCase& c : loader_cases({}, of)) found.push_back(c.name);
  return found;
}

TEST(LoaderCases, AreTheUsualOrThoseNamed) {
  EXPECT_THAT(names({}),
              ElementsAre("plain", "context/char/joint", "context/char/psm", "context/char/spm1",
                          "context/char/spm2", "context/line/joint", "context/token/joint",
                          "document/char/joint", "document/line/joint", "document/token/joint"));
  EXPECT_THAT(names({"document/line/spm1", "plain"}), ElementsAre("plain", "document/line/spm1"));
  EXPECT_EQ(names({"context"}).size(), 12);
  EXPECT_EQ(names({"document/token"}).size(), 4);
  EXPECT_EQ(names({"plain", "context", "document"}).size(), 25);
  for (const char* none : {"", "con", "context/", "context/psm", "context/char/joint/x"})
    EXPECT_THAT(test::error_of([&] { names({none}); }), HasSubstr("unknown case")) << none;
}

TEST(LoaderCases, SayWhatFimDoes) {
  EXPECT_EQ(loader_cases({.rate = 0.5}, {"plain"})[0].fim.rate, 0);
  const FimConfig spm1 = loader_cases({.rate = 0.5}, {"document/line/spm1"})[0].fim;
  EXPECT_EQ(spm1.rate, 0.5);
  EXPECT_EQ(spm1.level, FimLevel::document);
  EXPECT_EQ(spm1.unit, FimUnit::line);
  EXPECT_EQ(spm1.psm, 0);
  EXPECT_EQ(spm1.spm1, 1);
  EXPECT_EQ(spm1.spm2, 0);
  EXPECT_EQ(loader_cases({.rate = 0}, {"context/char/psm"})[0].fim.rate, 0.9);
}

struct LoaderBenchTest : testing::Test {
  LoaderBenchTest() {
    test::write_text(dir / "tokenizer.json", test::small_tokenizer().to_json());
    test::dataset_of((dir / "set").string(), test::small_tokenizer(),
                     test::random_documents(test::small_tokenizer(), 7, 200, 300));
    bench.config = parse_config(
        Json{{"model", {{"n_ctx", 64}}},
             {"train", {{"batch_tokens", 4096}}},
             {"data", {{"tokenizer", dir / "tokenizer.json"}, {"train", (dir / "set").string()}}}}
            .dump(),
        "test");
    bench.threads = 2;
    bench.runs = 2;
    bench.run_ms = 1;
  }
  test::TemporaryDirectory dir;
  LoaderBench bench;
};

TEST_F(LoaderBenchTest, MeasuresEveryUsualCase) {
  const Json report = run_loader_bench(bench);
  EXPECT_EQ(report.at("batch_samples"), 64);
  EXPECT_GT(report.at("bytes_per_token"), 1);
  EXPECT_EQ(report.at("floor").at("bytes_per_token"), 14);
  ASSERT_EQ(report.at("floor").at("by_threads").size(), 2);
  ASSERT_EQ(report.at("results").size(), 20);
  for (const Json& result : report.at("results")) {
    for (const char* key : {"tokens_per_s", "tokens_per_s_core", "mb_per_s", "ns_per_token",
                            "cpu_ns_per_token", "above_floor"})
      EXPECT_GT(result.at(key), 0) << result;
    EXPECT_NEAR(
        result.at("mb_per_s").get<double>(),
        1e-6 * result.at("tokens_per_s").get<double>() * report.at("bytes_per_token").get<double>(),
        1e-6);
    EXPECT_EQ(result.at("runs"), 2);
    if (result.at("case") == "plain") {
      EXPECT_EQ(result.at("rate"), 0);
      EXPECT_EQ(result.at("transformed"), 0);
      EXPECT_EQ(result.at("dropped"), 0);
    } else {
      EXPECT_EQ(result.at("rate"), 0.9);
      EXPECT_GT(result.at("transformed"), 0.5) << result;
      EXPECT_GT(result.at("dropped"), 0) << result;
    }
  }
  const std::string text = loader_bench_text(report);
  EXPECT_THAT(text, HasSubstr("14 bytes a token"));
  EXPECT_THAT(text, HasSubstr("| document/token/joint | 2 "));
}

TEST_F(LoaderBenchTest, RefusesWhatARunRefuses) {
  bench.cases = {"plain"};
  bench.config.model.n_ctx = 1 << 20;
  bench.config.train.batch_tokens = 1 << 20;
  EXPECT_THAT(test::error_of([&] { run_loader_bench(bench); }), HasSubstr("one sample"));
  bench.config.data.tokenizer = dir / "missing";
  EXPECT_THAT(test::error_of([&] { run_loader_bench(bench); }), HasSubstr("missing"));
}

}  // namespace
}  // namespace midfill
