#include "src/bench/tokenizer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <zlib.h>

#include "kernels/common/check.h"
#include "src/bench/team.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Team, PassesOverWorkOnEveryThread) {
  Team team(3);
  std::vector<int> calls(3);
  for (int pass = 0; pass < 4; ++pass) {
    const Team::Pass time = team.run([&](int thread) { ++calls[thread]; });
    EXPECT_GE(time.wall_s, 0);
    EXPECT_GE(time.cpu_s, 0);
  }
  EXPECT_THAT(calls, ElementsAre(4, 4, 4));
}

TEST(Team, ThrowsWhatAThreadThrewAndGoesOn) {
  Team team(2);
  const auto fails = [](int thread) { require(thread == 0, "thread {} fails", thread); };
  for (int pass = 0; pass < 2; ++pass)
    EXPECT_EQ(test::error_of([&] { team.run(fails); }), "thread 1 fails");
  team.run([](int) {});
}

TEST(Team, CountsThreadsByDoubling) {
  EXPECT_THAT(thread_counts(1), ElementsAre(1));
  EXPECT_THAT(thread_counts(2), ElementsAre(1, 2));
  EXPECT_THAT(thread_counts(6), ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(thread_counts(8), ElementsAre(1, 2, 4, 8));
}

TEST(Team, RatesAreMediansOfPasses) {
  const Json rates = rates_of({{4, 4}, {1, 1}, {2, 3}, {3, 2}, {5, 5}}, 6e6, 12e6);
  EXPECT_DOUBLE_EQ(rates.at("tokens_per_s"), 2e6);
  EXPECT_DOUBLE_EQ(rates.at("tokens_per_s_p20"), 1.5e6);
  EXPECT_DOUBLE_EQ(rates.at("tokens_per_s_p80"), 3e6);
  EXPECT_DOUBLE_EQ(rates.at("mb_per_s"), 4);
  EXPECT_DOUBLE_EQ(rates.at("ns_per_token"), 500);
  EXPECT_DOUBLE_EQ(rates.at("cpu_ns_per_token"), 500);
  EXPECT_DOUBLE_EQ(rates.at("cpu_ns_per_byte"), 250);
  EXPECT_EQ(rates.at("runs"), 5);
}

struct TokenizerBenchTest : testing::Test {
  TokenizerBenchTest() {
    test::write_text(dir / "tokenizer.json", test::small_tokenizer().to_json());
    for (int i = 0; i < 20; ++i) {
      Rng rng(5, Purpose::kTest, 0, static_cast<uint64_t>(i));
      texts.push_back("x<|endoftext|>" + test::random_text(rng, 400));
      test::write_text(dir / fmt::format("text{:02}.txt", i), texts.back());
    }
  }
  TokenizerBench bench() {
    return {.tokenizer = dir / "tokenizer.json",
            .inputs = {dir.path()},
            .include = {"*.txt"},
            .exclude = {},
            .threads = 3,
            .runs = 2};
  }
  test::TemporaryDirectory dir;
  std::vector<std::string> texts;
};

TEST_F(TokenizerBenchTest, CountsWhatDataBuildWouldEncode) {
  const Json report = run_tokenizer_bench(bench());
  int64_t bytes = 0, tokens = 0;
  uLong crc = crc32(0, nullptr, 0);
  for (const std::string& text : texts) {
    const auto ids = test::small_tokenizer().encode(text, {.match_special = false});
    bytes += static_cast<int64_t>(text.size());
    tokens += static_cast<int64_t>(ids.size());
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(ids.data()), 4 * ids.size());
  }
  EXPECT_EQ(report.at("documents"), 20);
  EXPECT_EQ(report.at("bytes"), bytes);
  EXPECT_EQ(report.at("tokens"), tokens);
  EXPECT_EQ(report.at("ids_crc32"), fmt::format("{:08x}", crc));
  ASSERT_EQ(report.at("results").size(), 6);
  for (const Json& result : report.at("results")) {
    for (const char* key : {"tokens_per_s", "mb_per_s", "cpu_ns_per_byte", "speedup"})
      EXPECT_GT(result.at(key), 0) << key;
    EXPECT_LE(result.at("mb_per_s_p20"), result.at("mb_per_s_p80"));
    EXPECT_NEAR(result.at("mb_per_s").get<double>() / result.at("tokens_per_s").get<double>(),
                1e-6 * static_cast<double>(bytes) / static_cast<double>(tokens), 1e-12);
  }
  EXPECT_THAT(tokenizer_bench_text(report), HasSubstr("| decode | 3       |"));
}

TEST_F(TokenizerBenchTest, TakesTheFirstMegabytes) {
  TokenizerBench some = bench();
  some.max_bytes = texts[0].size() + texts[1].size();
  EXPECT_EQ(run_tokenizer_bench(some).at("documents"), 2);
  some.max_bytes = 1;
  EXPECT_EQ(run_tokenizer_bench(some).at("documents"), 1) << "one at least";
}

TEST_F(TokenizerBenchTest, RefusesInputsWithoutDocuments) {
  test::write_text(dir / "empty.txt", "");
  TokenizerBench none = bench();
  none.include = {"empty.txt"};
  EXPECT_EQ(test::error_of([&] { run_tokenizer_bench(none); }),
            "bench tokenizer: the inputs hold no document");
}

}  // namespace
}  // namespace midfill
