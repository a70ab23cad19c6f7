// Real processes of the midfill binary, with real signals.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "kernels/common/rng.h"
#include "tests/train/midfill_process.h"
#include "tests/train/train_fixture.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using Process = test::MidfillProcess;
using test::TrainFixture;

void sleep_ms(int64_t ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

struct ProcessTest : testing::Test {
  // Enough work for signals to arrive in the middle of it; about two seconds in all.
  std::vector<std::string> train(const std::string& run,
                                 const std::vector<std::string>& more = {}) {
    std::vector<std::string> out = {
        "train", fixture.config_path(),    "--run", fixture / run,
        "--set", "train.steps=150",        "--set", "checkpoint.every=4",
        "--set", "checkpoint.keep_last=3", "--set", "eval.every=20"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  std::vector<std::string> resume(const std::string& run) {
    return {"train", "--run", fixture / run, "--resume"};
  }
  int run(const std::vector<std::string>& arguments) {
    return Process(arguments, fixture / "output").wait();
  }
  std::string output() { return test::read_text(fixture / "output"); }
  // Waits until the run has written so many bytes of metrics.
  bool wait_for_metrics(const std::string& name, uintmax_t bytes) {
    return test::wait_for_bytes(fixture / name / "metrics.jsonl", bytes);
  }
  void make_whole() { ASSERT_EQ(run(train("whole")), 0) << output(); }

  TrainFixture fixture;
};

TEST_F(ProcessTest, SignalsSaveAndResumeIsBitIdentical) {
  make_whole();
  for (const int signal : {SIGTERM, SIGINT}) {
    const std::string name = signal == SIGTERM ? "term" : "int";
    Process process(train(name), fixture / "output");
    ASSERT_TRUE(wait_for_metrics(name, 2000));
    process.send(signal);
    EXPECT_EQ(process.wait(), 0) << output();
    EXPECT_NE(output().find(signal == SIGTERM ? "stopped by SIGTERM after step"
                                              : "stopped by SIGINT after step"),
              std::string::npos)
        << output();
    EXPECT_EQ(run(resume(name)), 0) << output();
    EXPECT_NE(output().find("resuming after step"), std::string::npos);
    test::expect_same_run(fixture / "whole", fixture / name);
  }
}

TEST_F(ProcessTest, SecondSignalLeavesAtOnce) {
  Process process(train("run", {"--set", "train.batch_tokens=131072"}), fixture / "output");
  ASSERT_TRUE(wait_for_metrics("run", 1));
  process.send(SIGTERM);
  process.send(SIGINT);
  EXPECT_EQ(process.wait(), 130) << output();
}

// Killed again and again at moments that differ, from before the run exists to its last steps.
TEST_F(ProcessTest, KilledAtRandomMomentsItEndsTheSame) {
  make_whole();
  int kills = 0;
  for (uint64_t trial = 0; trial < 2; ++trial) {
    const std::string name = fmt::format("killed{}", trial);
    Rng rng(99, Purpose::kTest, 0, trial);
    for (int attempt = 0;; ++attempt) {
      ASSERT_LT(attempt, 60);
      Process process(fs::exists(fixture / name / "config.json") ? resume(name) : train(name),
                      fixture / "output");
      // Later attempts live longer, so that the run gets somewhere.
      sleep_ms(static_cast<int64_t>(rng.below(100 + 100 * static_cast<uint64_t>(attempt))));
      process.send(SIGKILL);
      const int status = process.wait();
      if (status == 0) break;
      ASSERT_EQ(status, 1000 + SIGKILL) << output();
      ++kills;
    }
    test::expect_same_run(fixture / "whole", fixture / name);
    for (const auto& entry : fs::directory_iterator(fixture / name))
      EXPECT_EQ(entry.path().filename().string().find("tmp"), std::string::npos) << entry.path();
  }
  EXPECT_GE(kills, 4);
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
  EXPECT_EQ(first.wait(), 0);
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
