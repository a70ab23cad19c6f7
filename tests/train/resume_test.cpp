// What a resume accepts, refuses and keeps.
#include <cmath>

#include "src/checkpoint/manifest.h"
#include "src/checkpoint/run_directory.h"
#include "src/checkpoint/run_facts.h"
#include "src/checkpoint/safetensors.h"
#include "src/data/fingerprint.h"
#include "src/train/trainer.h"
#include "tests/data/data_test_support.h"
#include "tests/train/train_fixture.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_same_run;
using test::read_text;
using test::TrainFixture;
using test::trajectory_of;

// Every file under a directory with its contents.
std::map<std::string, std::string> contents_of(const fs::path& directory) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file() && entry.path().filename() != ".lock")
      contents[entry.path()] = read_text(entry.path());
  return contents;
}

void remove_checkpoints_after(const fs::path& run, int64_t step) {
  for (int64_t s = step + 1; s <= 100; ++s) fs::remove_all(run / fmt::format("step_{:08}", s));
}

struct ResumeTest : testing::Test {
  fs::path run() const { return fixture / "run"; }
  // The error of an action that must leave the run's directory as it was.
  std::string refusal(const std::function<void()>& action) const {
    const auto before = contents_of(run());
    const std::string error = error_of(action);
    EXPECT_EQ(contents_of(run()), before) << error;
    return error;
  }
  std::string refusal(const TrainRequest& request) const {
    return refusal([&] { train(request); });
  }
  TrainRequest resume(std::vector<std::string> overrides = {}) const {
    TrainRequest request = fixture.resume("run");
    request.overrides = std::move(overrides);
    return request;
  }

  TrainFixture fixture;
};

TEST_F(ResumeTest, WhatIsLeftOfARunIsNotANewOnes) {
  train(fixture.request("run"));
  fs::remove(run() / "config.json");
  EXPECT_EQ(refusal(fixture.request("run", {"train.steps=6", "seed=5"})),
            fmt::format("{}: holds checkpoints, the newest of step 12, but no config.json: what is "
                        "left of a run; choose another directory with --run",
                        run().string()));
  EXPECT_NE(refusal(resume()).find("no run to resume here"), std::string::npos);
  remove_checkpoints_after(run(), 0);
  EXPECT_NE(refusal(fixture.request("run")).find("holds metrics.jsonl but no config.json"),
            std::string::npos);
  fs::remove(run() / "metrics.jsonl");
  EXPECT_NE(refusal(fixture.request("run")).find("holds tensorboard but no config.json"),
            std::string::npos);
  fs::remove_all(run() / "tensorboard");
  test::write_text(run() / "tokenizer.json", "{\"somebody\": \"else's\"}");
  EXPECT_NE(refusal(fixture.request("run")).find("refusing to overwrite"), std::string::npos);
  // As a start leaves it that was killed.
  fs::remove(run() / "tokenizer.json");
  fs::remove(run() / "log.txt");
  train(fixture.request("run"));
}

TEST_F(ResumeTest, CheckpointsThatWereMovedAwayAreMissed) {
  train(fixture.request("run"));
  for (int step = 1; step <= 12; ++step)
    fs::rename(run() / fmt::format("step_{:08}", step), fixture / fmt::format("away{}", step));
  EXPECT_EQ(refusal(resume()),
            fmt::format("{}: a checkpoint of step 12 was saved, but there is no step_* here now; "
                        "put it back, or start a new run elsewhere with --run",
                        run().string()));
  // One of them is enough to go on from.
  const auto whole = trajectory_of(run());
  fs::rename(fixture / "away7", run() / "step_00000007");
  train(resume());
  EXPECT_EQ(trajectory_of(run()), whole);
}

TEST_F(ResumeTest, MetricsOfStepsThatAreDoneAgainAreKeptAside) {
  train(fixture.request("run"));
  const std::string before = read_text(run() / "metrics.jsonl");
  remove_checkpoints_after(run(), 9);
  train(resume());
  const size_t kept = before.find("{\"step\":10,");
  EXPECT_EQ(read_text(run() / "aside" / "metrics.jsonl"),
            "{\"resumed_after\":9,\"lines\":5}\n" + before.substr(kept));
}

TEST_F(ResumeTest, ALaterEndDoesNotStretchTheWarmUp) {
  train(fixture.request("run", {"train.steps=20"}));  // warm-up of a fifth: 4 steps
  EXPECT_EQ(read_run_config(run()).optim.warmup_steps, 4);
  const auto before = trajectory_of(run());
  remove_checkpoints_after(run(), 4);
  train(resume({"train.steps=60"}));
  double last = INFINITY;
  for (const Json& record : trajectory_of(run())) {
    if (record.contains("eval")) continue;
    const auto step = record["step"].get<int64_t>();
    const double lr = record["lr"].get<double>();
    if (step <= 4) {
      EXPECT_DOUBLE_EQ(lr, 0.01 * static_cast<double>(step) / 4);
    } else {
      EXPECT_FALSE(!(lr < last)) << step;
      last = lr;
    }
    EXPECT_TRUE(step != 5 || lr > 0.0099) << lr;
  }
  EXPECT_NEAR(last, 0.001, 1e-12);
  EXPECT_NE(read_text(run() / "log.txt")
                .find("train.steps changes from 20 to 60\nlearning rate: 0.01 at step 4, "),
            std::string::npos);

  // A file that says how long the warm-up is as a share means the same again.
  TrainRequest again = fixture.request("run", {"train.steps=80"});
  again.resume = true;
  train(again);
  EXPECT_EQ(read_run_config(run()).optim.warmup_steps, 4);
  EXPECT_EQ(refusal(resume({"optim.warmup_steps=9"})),
            "optim.warmup_steps is 4 in the run, 9 was asked for: this key cannot change at "
            "resume; start a new run");
}

TEST_F(ResumeTest, ARunOfAVersionThatDidNotKeepTheWarmUpKeepsItToo) {
  train(fixture.request("run", {"train.steps=20"}));
  remove_checkpoints_after(run(), 10);
  std::string config = read_text(run() / "config.json");
  const std::string kept = "\"warmup_steps\": 4,";
  ASSERT_NE(config.find(kept), std::string::npos) << config;
  config.erase(config.find(kept), kept.size());
  test::write_text(run() / "config.json", config);
  fs::remove(run() / "run.json");
  train(resume({"train.steps=100"}));
  EXPECT_EQ(read_run_config(run()).optim.warmup_steps, 4);
  EXPECT_EQ(read_run_facts(run()).train.size(), 1u);
}

TEST_F(ResumeTest, AWarmUpLongerThanTheRunIsRefusedAtItsStart) {
  EXPECT_EQ(error_of([&] { train(fixture.request("run", {"optim.warmup_steps=13"})); }),
            "optim.warmup_steps is 13, expected at most train.steps, 12");
  EXPECT_FALSE(fs::exists(run()));
  train(fixture.request("run", {"optim.warmup_steps=12", "optim.schedule=wsd"}));
  EXPECT_DOUBLE_EQ(trajectory_of(run())[0]["lr"].get<double>(), 0.01 / 12);
}

struct ChangedData : ResumeTest {
  void SetUp() override {
    train(fixture.request("run"));
    remove_checkpoints_after(run(), 8);
    whole_ = trajectory_of(run());
  }
  std::vector<Json> whole_;
};

TEST_F(ChangedData, IsRefusedAndCanBeAccepted) {
  const Tokenizer& tokenizer = test::small_tokenizer();
  const std::string train_bin = read_text(fixture / "train.bin");
  const std::string was = fingerprint_of_dataset(fixture / "train");

  // Edited in place.
  std::string edited = train_bin;
  std::swap(edited[200], edited[202]);
  ASSERT_NE(edited, train_bin);
  test::write_text(fixture / "train.bin", edited);
  const std::string error = refusal(resume());
  for (const std::string& part :
       {"data.train: " + (fixture / "train").string() + ": found ",
        "fingerprint " + fingerprint_of_dataset(fixture / "train") + "; the run began with ",
        "fingerprint " + was + "; ", std::string("--accept-data")})
    EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;

  // Built again, with more in it.
  test::dataset_of(fixture / "bigger", tokenizer, test::random_documents(tokenizer, 1, 70, 300));
  for (const char* file : {".bin", ".idx"})
    fs::copy(fixture / (std::string("bigger") + file), fixture / (std::string("train") + file),
             fs::copy_options::overwrite_existing);
  EXPECT_NE(refusal(resume()).find("; the run began with "), std::string::npos);

  TrainRequest accepting = resume();
  accepting.accept_data = true;
  train(accepting);
  EXPECT_NE(trajectory_of(run()), whole_);
  EXPECT_NE(read_text(run() / "log.txt").find(": accepted\n"), std::string::npos);
  // From then on these are the run's data.
  remove_checkpoints_after(run(), 10);
  train(resume());
}

TEST_F(ChangedData, ADatasetThatMovedIsTheSame) {
  for (const char* file : {".bin", ".idx"})
    fs::rename(fixture / (std::string("train") + file), fixture / (std::string("moved") + file));
  train(resume({"data.train=" + (fixture / "moved").string()}));
  EXPECT_EQ(trajectory_of(run()), whole_);
}

TEST_F(ChangedData, ValidationDataCountWhereTheConfigurationDidNotChangeThem) {
  const std::string bin = read_text(fixture / "valid.bin");
  std::string edited = bin;
  std::swap(edited[200], edited[202]);
  test::write_text(fixture / "valid.bin", edited);
  EXPECT_NE(refusal(resume()).find("data.valid: "), std::string::npos);
  for (const char* file : {".bin", ".idx"})
    fs::rename(fixture / (std::string("valid") + file), fixture / (std::string("other") + file));
  train(resume({"data.valid=" + (fixture / "other").string()}));
  EXPECT_EQ(read_run_facts(run()).valid[0].fingerprint, fingerprint_of_dataset(fixture / "other"));
}

TEST_F(ChangedData, AnotherTokenizerOfTheSameSizeIsRefused) {
  Json json = parse_json(read_text(run() / "tokenizer.json"), "tokenizer.json");
  Json& vocab = json["model"]["vocab"];
  std::swap(vocab.at("!"), vocab.at("#"));
  test::write_text(run() / "tokenizer.json", json.dump());
  const std::string error = refusal(resume());
  EXPECT_EQ(error.find((run() / "tokenizer.json").string() + ": found fingerprint "), 0u) << error;
  EXPECT_NE(error.find("--accept-data"), std::string::npos);
}

// Nothing is finite from some update on. Weights that overflow, put into a checkpoint as if the run
// had come there, are what a run looks like that is about to diverge.
struct Diverging : ResumeTest {
  void SetUp() override {
    train(fixture.request("run", {"train.steps=15", "checkpoint.every=5", "checkpoint.keep_last=2",
                                  "train.max_skips=12", "eval.every=0", "data.valid="}));
    const fs::path checkpoint = run() / "step_00000015";
    {
      const SafetensorsFile file(checkpoint / "model.safetensors");
      std::vector<std::vector<float>> values;
      std::vector<SafetensorsEntry> entries;
      for (const SafetensorsEntry& entry : file.entries()) {
        auto& tensor = values.emplace_back(entry.bytes.size() / sizeof(float));
        copy_as_f32(entry, file.path(), tensor);
        if (entry.name == "gpt_neox.final_layer_norm.weight") std::ranges::fill(tensor, 3e38f);
        entries.push_back({entry.name, "F32", entry.shape, std::as_bytes(std::span(tensor))});
      }
      write_safetensors(checkpoint / "model.safetensors", entries, file.metadata(),
                        AtomicFile::Existing::replace);
    }
    fs::remove(checkpoint / "manifest.json");
    write_manifest(checkpoint, 15);
  }
  std::vector<std::string> checkpoints() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(run()))
      if (entry.path().filename().string().starts_with("step_"))
        names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
};

TEST_F(Diverging, KeepsTheCheckpointFromBeforeTheSkipsAndSaysHowToGoOn) {
  const std::string error = error_of([&] { train(resume({"train.steps=60"})); });
  EXPECT_EQ(error,
            fmt::format("step 27: 12 updates in a row were skipped (train.max_skips); the newest "
                        "checkpoint from before the skips is {}: --resume --from 15 goes on there, "
                        "also with another optim.lr or optim.clip",
                        (run() / "step_00000015").string()));
  EXPECT_EQ(checkpoints(),
            (std::vector<std::string>{"step_00000015", "step_00000025", "step_00000027"}));
  // A resume does not do one more step to find out.
  EXPECT_EQ(refusal(resume()),
            fmt::format("{}: its last 12 updates were skipped (train.max_skips is 12); the newest "
                        "checkpoint from before the skips is {}: --resume --from 15 goes on there, "
                        "also with another optim.lr or optim.clip",
                        (run() / "step_00000027").string(), (run() / "step_00000015").string()));
  // With more patience it goes on.
  EXPECT_NE(error_of([&] { train(resume({"train.max_skips=13"})); }).find("step 28: 13 updates"),
            std::string::npos);
}

TEST_F(ResumeTest, FromAnEarlierCheckpointNothingIsLost) {
  train(fixture.request("whole"));
  train(fixture.request("run"));
  const auto metrics = read_text(run() / "metrics.jsonl");
  const auto last = test::files_of(run() / "step_00000012");
  TrainRequest from = resume();
  from.from = 5;
  train(from);
  expect_same_run(fixture / "whole", run());
  for (int step = 6; step <= 12; ++step)
    EXPECT_TRUE(fs::exists(run() / "aside" / fmt::format("step_{:08}", step))) << step;
  EXPECT_EQ(test::files_of(run() / "aside" / "step_00000012"), last);
  EXPECT_EQ(read_text(run() / "aside" / "metrics.jsonl"),
            "{\"resumed_after\":5,\"lines\":9}\n" + metrics.substr(metrics.find("{\"step\":6,")));

  // Another rate is another branch: only so may it change. What is aside stays there.
  from.overrides = {"optim.lr=0.002"};
  train(from);
  EXPECT_TRUE(fs::exists(run() / "aside" / "step_00000012.2"));
  EXPECT_EQ(test::files_of(run() / "aside" / "step_00000012"), last);
  EXPECT_LT(trajectory_of(run())[6]["lr"].get<double>(), 0.0021);
  EXPECT_EQ(read_run_config(run()).optim.lr, 0.002);
  EXPECT_NE(refusal(resume({"optim.lr=0.01"})).find("cannot change at resume"), std::string::npos);
  from.overrides = {"fim.rate=0.1"};
  EXPECT_NE(refusal(from).find("cannot change at resume"), std::string::npos);
  from.overrides = {};
  from.from = 13;
  EXPECT_EQ(refusal(from),
            fmt::format("{}: no checkpoint of step 13; there are: 12 11 10 9 8 7 6 5 4 3 2 1",
                        run().string()));
}

// A weight that is not finite is never written, and the checkpoint before it stays.
TEST_F(ResumeTest, WeightsThatAreNotFiniteAreNotSaved) {
  train(fixture.request("run", {"train.steps=5"}));
  const Tokenizer tokenizer = Tokenizer::load(fixture / "tokenizer.json");
  Config config = read_run_config(run());
  config.train.steps = 7;
  Device device("cpu", 1);
  Trainer trainer(config, tokenizer, device);
  trainer.restore(run() / "step_00000005");
  trainer.model().param("gpt_neox.layers.0.attention.dense.bias").as<float>()[3] = NAN;
  const RunHold hold(run());
  RunFacts facts = read_run_facts(run());
  RunLog log(run(), config, 5, 1.0);
  const StopSignal stop("ending");
  const std::string error = error_of([&] { trainer.run(hold, facts, log, stop); });
  EXPECT_EQ(error.find("step 6: weight gpt_neox.layers.0.attention.dense.bias holds nan at element "
                       "3, expected finite numbers; nothing is saved"),
            0u)
      << error;
  EXPECT_EQ(test::newest_checkpoint(run()).filename(), "step_00000005");
  EXPECT_EQ(read_run_facts(run()).saved, 5);
}

}  // namespace
}  // namespace midfill
