// Real processes of the midfill binary, with real signals.
#include <fmt/format.h>
#include <signal.h>

#include <cstdlib>
#include <iostream>

#include "kernels/common/rng.h"
#include "tests/data/data_test_support.h"
#include "tests/train/midfill_process.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using Process = test::MidfillProcess;
using test::ProcessTest;
using test::sleep_ms;

struct KillTest : ProcessTest {
  void make_whole() { ASSERT_EQ(run(train("whole")), 0) << output(); }
};

// How often runs are to be ended by each signal: MIDFILL_KILLS, or a few times.
int kills_wanted() {
  const char* text = std::getenv("MIDFILL_KILLS");
  return text ? std::atoi(text) : 8;
}

// Ended again and again at moments that differ, from before the run exists to its last steps; in
// several runs, each of which ends as one that nobody disturbed.
TEST_F(KillTest, EndedAtRandomMomentsItEndsTheSame) {
  make_whole();
  for (const int signal : {SIGKILL, SIGTERM}) {
    int ended = 0, runs = 0;
    for (; ended < kills_wanted(); ++runs) {
      const std::string name = fmt::format("signal{}_{}", signal, runs);
      Rng rng(99, Purpose::kTest, static_cast<uint64_t>(signal), static_cast<uint64_t>(runs));
      for (int attempt = 0;; ++attempt) {
        ASSERT_LT(attempt, 100);
        Process process(fs::exists(fixture / name / "config.json") ? resume(name) : train(name),
                        fixture / "output");
        // Later attempts live longer, so that the run gets somewhere.
        sleep_ms(static_cast<int64_t>(rng.below(100 + 25 * static_cast<uint64_t>(attempt))));
        process.send(signal);
        const int status = process.wait();
        if (status == 0) break;
        ++ended;
        if (status == 1000 + signal) continue;  // SIGTERM: before anything was there to be saved
        ASSERT_EQ(status, 128 + signal) << output();
        // No step is lost.
        const auto records = test::metrics_of(fixture / name);
        if (records.empty()) continue;
        EXPECT_EQ(checkpoints(name).back(),
                  fmt::format("step_{:08}", records.back().at("step").get<int64_t>()))
            << output();
      }
      test::expect_same_run(fixture / "whole", fixture / name);
      for (const auto& entry : fs::directory_iterator(fixture / name))
        EXPECT_EQ(entry.path().filename().string().find("tmp"), std::string::npos) << entry.path();
      fs::remove_all(fixture / name);
      if (HasFailure()) FAIL() << name << " after " << ended;
    }
    std::cout << "ended " << ended << " times by signal " << signal << " in " << runs << " runs\n";
  }
}

// A writer that was killed between its last checkpoint and the end leaves nothing to be done.
TEST_F(ProcessTest, ACompleteRunIsTidiedUpToo) {
  ASSERT_EQ(run(train("run")), 0) << output();
  const fs::path left = fixture / "run" / ".tmp-step_00000001.removed-4194305";
  fs::create_directories(left);
  test::write_text(left / "state.json", "{}");
  EXPECT_EQ(run(resume("run")), 0) << output();
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(ProcessTest, OneWriterAtATime) {
  Process first(train("run"), fixture / "first");
  ASSERT_TRUE(wait_for_metrics("run", 1));
  EXPECT_EQ(run(resume("run")), 1);
  EXPECT_NE(output().find("is writing to this run"), std::string::npos) << output();
  EXPECT_EQ(run(train("run")), 1);
  EXPECT_NE(output().find("--resume"), std::string::npos) << output();
  first.send(SIGTERM);
  EXPECT_EQ(first.wait(), 128 + SIGTERM);
}

TEST_F(ProcessTest, BadInputIsOneLineAndExitStatusOne) {
  for (const std::string set : {"optim.learning_rate=1", "train.steps=0", "model.n_heads=5",
                                "data.train=/nowhere/data", "fim.rate=2"}) {
    EXPECT_EQ(run(train("run", {"--set", set})), 1);
    const std::string text = output();
    EXPECT_TRUE(text.starts_with("midfill: ")) << text;
    EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
    EXPECT_FALSE(fs::exists(fixture / "run"));
  }
}

// The command finds what the run's own last evaluation found, in the run and in its export.
TEST_F(ProcessTest, EvalAgreesWithTheRun) {
  ASSERT_EQ(run(train("run", {"--set", "train.steps=10"})), 0) << output();
  const Json logged = test::metrics_of(fixture / "run").back()["eval"];
  ASSERT_EQ(run({"export", "--run", fixture / "run", "--out", fixture / "hf"}), 0) << output();
  const std::vector<std::vector<std::string>> sources = {
      {"--run", fixture / "run"},
      {"--model", fixture / "hf", "--data", fixture / "valid", "--samples", "4"}};
  for (std::vector<std::string> arguments : sources) {
    arguments.insert(arguments.begin(), "eval");
    for (const char* option : {"--threads", "1", "--json"}) arguments.push_back(option);
    ASSERT_EQ(run(arguments), 0) << output();
    const std::string text = output();
    const Json found = parse_json(text.substr(text.rfind('\n', text.size() - 2) + 1), "eval");
    EXPECT_EQ(found.size(), 8u);
    for (const auto& [stream, result] : logged.items())
      for (const char* key : {"nats_per_token", "bits_per_byte", "tokens", "samples"})
        EXPECT_NEAR(result[key].get<double>(), found[stream][key].get<double>(), 1e-5)
            << stream << " " << key;
    arguments.pop_back();
    ASSERT_EQ(run(arguments), 0);
    EXPECT_NE(output().find("middle_ar"), std::string::npos);
  }
  EXPECT_EQ(run({"eval", "--run", fixture / "absent"}), 1);
  EXPECT_EQ(run({"eval", "--run", fixture / "run", "--modes", "psm,spm3"}), 1);
  EXPECT_NE(output().find("\"spm3\""), std::string::npos);
}

// Validation data without a text: middles are empty, and no token stands for a byte.
TEST_F(ProcessTest, AnEvaluationOfNothingIsNone) {
  const Tokenizer& tokenizer = test::small_tokenizer();
  test::dataset_of(fixture / "nothing", tokenizer,
                   std::vector(500, std::vector{tokenizer.sentinels().eod}));
  ASSERT_EQ(run(train("run", {"--set", "train.steps=2", "--set",
                              "data.valid=" + (fixture / "nothing").string()})),
            0)
      << output();
  const std::string log = test::read_text(fixture / "run" / "log.txt");
  EXPECT_NE(log.find("middle_ar       none nats/token      none bits/byte  0 tokens"),
            std::string::npos)
      << log;
  EXPECT_EQ(log.find("nan"), std::string::npos) << log;
  const Json evaluation = test::metrics_of(fixture / "run").back()["eval"];
  EXPECT_TRUE(evaluation["middle_ar"]["nats_per_token"].is_null());
  EXPECT_TRUE(evaluation["ar"]["bits_per_byte"].is_null());
  EXPECT_GT(evaluation["ar"]["nats_per_token"], 0.0);
  for (const auto& entry : fs::directory_iterator(fixture / "run" / "tensorboard")) {
    const std::string events = test::read_text(entry.path());
    EXPECT_NE(events.find("eval/ar/nats_per_token"), std::string::npos);
    EXPECT_EQ(events.find("eval/ar/bits_per_byte"), std::string::npos);
    EXPECT_EQ(events.find("eval/middle_ar"), std::string::npos);
  }

  ASSERT_EQ(run({"eval", "--run", fixture / "run"}), 0);
  EXPECT_NE(output().find("middle_ar              4           0          none          none\n"),
            std::string::npos)
      << output();
  EXPECT_EQ(output().find("nan"), std::string::npos) << output();
  ASSERT_EQ(run({"eval", "--run", fixture / "run", "--json"}), 0);
  EXPECT_NE(output().find(R"("middle_ar":{"nats_per_token":null,"bits_per_byte":null,"tokens":0)"),
            std::string::npos)
      << output();
}

// Every configuration that ships; those that leave the vocabulary to a tokenizer are given one.
TEST_F(ProcessTest, DryRunDescribesEveryShippedConfiguration) {
  int files = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(MIDFILL_SOURCE_DIR) / "configs")) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_EQ(run({"train", entry.path(), "--dry-run", "--set",
                   "data.tokenizer=" + (fixture / "tokenizer.json").string()}),
              0)
        << entry.path() << output();
    for (const char* word : {"parameters", "activations", "FLOPs per token", "steps", "tokens"})
      EXPECT_NE(output().find(word), std::string::npos) << entry.path() << ": " << word;
    if (entry.path().filename() == "fim-1.3b.json") {
      EXPECT_NE(output().find("1,414,647,808"), std::string::npos) << output();
      EXPECT_NE(output().find("47,000"), std::string::npos);
      EXPECT_NE(output().find("295,698,432,000"), std::string::npos);
    }
    if (entry.path().filename() == "pythia-1.4b.json") {
      EXPECT_NE(output().find("1,414,647,808"), std::string::npos) << output();
    }
  }
  EXPECT_GE(files, 12);
}

}  // namespace
}  // namespace midfill
