#include "src/train/trainer.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "src/checkpoint/run_directory.h"
#include "tests/train/train_fixture.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_same_run;
using test::rare_token;
using test::TrainFixture;
using test::trajectory_of;

// A trainer that a test steps by hand.
struct ManualRun {
  ManualRun(const TrainFixture& fixture, const std::string& name,
            const std::vector<std::string>& overrides)
      : tokenizer(Tokenizer::load(fixture / "tokenizer.json")),
        config(resolve_vocabulary(load_config(fixture.config_path(), overrides),
                                  tokenizer.vocab_size())),
        device("cpu", 1),
        trainer(config, tokenizer, device),
        directory(fixture / name) {
    fs::create_directories(directory);
    log.emplace(directory, config, 0, 1.0);
    loader.emplace(trainer.stream(), config.train.batch_tokens / config.model.n_ctx, 0);
  }
  StepRecord step() { return trainer.step(*loader, *log).value(); }
  std::vector<float> weights() {
    const Tensor params = trainer.model().params();
    return {params.as<float>(), params.as<float>() + params.numel()};
  }

  Tokenizer tokenizer;
  Config config;
  Device device;
  Trainer trainer;
  fs::path directory;
  std::optional<RunLog> log;
  std::optional<Loader> loader;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Train, MakesARun) {
  const TrainFixture fixture;
  train(fixture.request("run"));
  const auto metrics = test::metrics_of(fixture / "run");
  ASSERT_EQ(trajectory_of(fixture / "run").size(), 15u);  // 12 steps, evaluations after 5, 10, 12
  const Json& first = metrics.front();
  EXPECT_EQ(first["step"], 1);
  EXPECT_EQ(first["tokens"], 256);
  EXPECT_EQ(first["skipped"], 0);
  for (const char* key :
       {"loss", "lr", "grad_norm", "tokens_per_s", "mfu", "mfu_full", "data_wait"})
    EXPECT_TRUE(first[key].is_number() && first[key].get<double>() >= 0) << key;
  EXPECT_NEAR(first["lr"].get<double>(), 0.01 / 2.4, 0.002);
  const double before = first["loss"].get<double>();
  const double after = metrics[metrics.size() - 2]["loss"].get<double>();
  EXPECT_LT(after, before - 0.5);
  const Json& evaluation = metrics.back()["eval"];
  for (const char* stream : {"ar", "fim_psm", "fim_spm2", "middle_psm", "middle_spm2", "middle_ar"})
    EXPECT_GT(evaluation[stream]["nats_per_token"].get<double>(), 0.0) << stream;
  EXPECT_FALSE(evaluation.contains("fim_spm1"));

  for (const char* name : {"config.json", "tokenizer.json", "log.txt", "tensorboard"})
    EXPECT_TRUE(fs::exists(fixture / "run" / name)) << name;
  EXPECT_NE(test::read_text(fixture / "run" / "log.txt").find("step 12/12  loss "),
            std::string::npos);
  EXPECT_EQ(read_run_config(fixture / "run").model.vocab_size,
            Tokenizer::load(fixture / "tokenizer.json").vocab_size());
}

TEST(Train, SameSeedTwiceIsBitIdenticalAndAnotherSeedIsNot) {
  const TrainFixture fixture;
  train(fixture.request("a"));
  train(fixture.request("b"));
  expect_same_run(fixture / "a", fixture / "b");
  train(fixture.request("c", {"seed=7"}));
  EXPECT_NE(trajectory_of(fixture / "a"), trajectory_of(fixture / "c"));
}

// A run that was cut off after any checkpoint, with everything that it wrote later still lying
// about, ends as the run that never stopped. The spike guard skips some updates on the way.
TEST(Train, ResumeAfterAnyStepIsBitIdentical) {
  const TrainFixture fixture;
  train(fixture.request("whole", {"train.spike_zscore=0.05", "train.spike_window=2"}));
  const auto whole = trajectory_of(fixture / "whole");
  ASSERT_GT(whole[whole.size() - 2]["skipped"].get<int>(), 0) << "the guard had nothing to do";
  for (const int k : {0, 1, 4, 5, 10, 11, 12}) {
    const std::string name = fmt::format("cut{}", k);
    test::copy_as_of(fixture / "whole", fixture / name, k);
    train(fixture.resume(name));
    expect_same_run(fixture / "whole", fixture / name);
  }
}

// Two sources in training, two in validation: the run says what it is made of, evaluates each, and
// a run that was cut off ends as the one that never stopped.
TEST(Train, BlendsSourcesAndResumesBitIdentically) {
  const TrainFixture fixture;
  const auto list = [&](const std::string& first, const char* weight) {
    return fmt::format(R"([{{"name": "code", "path": "{}", "weight": {}}},)"
                       R"( {{"name": "text", "path": "{}", "weight": 0.25}}])",
                       (fixture / first).string(), weight, (fixture / "valid").string());
  };
  train(fixture.request(
      "whole", {"data.train=" + list("train", "0.75"), "data.valid=" + list("train", "1")}));
  const auto whole = trajectory_of(fixture / "whole");
  const Json& losses = whole.back()["eval"]["middle_psm"];
  const double code = losses["sources"]["code"]["nats_per_token"].get<double>(),
               text = losses["sources"]["text"]["nats_per_token"].get<double>();
  EXPECT_NEAR(losses["nats_per_token"].get<double>(), (code + 0.25 * text) / 1.25, 1e-9);
  EXPECT_EQ(losses["samples"], 8);
  const std::string log = test::read_text(fixture / "whole" / "log.txt");
  EXPECT_NE(log.find("data            code   75.00 %  "), std::string::npos) << log;
  EXPECT_NE(log.find("                text   25.00 %  "), std::string::npos) << log;

  for (const int k : {1, 4, 11}) {
    const std::string name = fmt::format("cut{}", k);
    test::copy_as_of(fixture / "whole", fixture / name, k);
    train(fixture.resume(name));
    expect_same_run(fixture / "whole", fixture / name);
  }

  TrainRequest other = fixture.resume("cut4");
  fs::remove_all(fixture / "cut4" / "step_00000012");
  other.overrides = {"data.train=" + list("train", "0.5")};
  EXPECT_EQ(error_of([&] { train(other); }),
            "data.train[0].weight is 0.75 in the run, 0.5 was asked for: this key cannot change at "
            "resume; start a new run");
  other.overrides = {"data.train=" + (fixture / "train").string()};
  EXPECT_NE(error_of([&] { train(other); }).find("data.train is [{"), std::string::npos);
  for (const char* file : {".bin", ".idx"})
    fs::copy(fixture / (std::string("train") + file), fixture / (std::string("moved") + file));
  other.overrides = {"data.train=" + list("moved", "0.75")};
  train(other);
  expect_same_run(fixture / "whole", fixture / "cut4");
}

TEST(Train, TwoThreadsAreBitIdenticalToo) {
  const TrainFixture fixture;
  const std::vector<std::string> two = {"train.threads=2", "model.d_model=64",
                                        "train.micro_batch=8"};
  train(fixture.request("a", two));
  train(fixture.request("b", two));
  expect_same_run(fixture / "a", fixture / "b");
  for (int step = 6; step <= 12; ++step)
    fs::remove_all(fixture / "b" / fmt::format("step_{:08}", step));
  train(fixture.resume("b"));
  expect_same_run(fixture / "a", fixture / "b");
}

TEST(Train, ResumePassesOverADamagedCheckpointAndSaysSo) {
  const TrainFixture fixture;
  train(fixture.request("whole"));
  fs::copy(fixture / "whole", fixture / "hurt", fs::copy_options::recursive);
  fs::resize_file(fixture / "hurt" / "step_00000012" / "model.safetensors", 1000);
  train(fixture.resume("hurt"));
  expect_same_run(fixture / "whole", fixture / "hurt");
  const std::string log = test::read_text(fixture / "hurt" / "log.txt");
  EXPECT_NE(log.find("passed over: "), std::string::npos);
  EXPECT_NE(log.find("resuming after step 11 "), std::string::npos);
}

TEST(Train, ResumeMakesUpForAnEvaluation) {
  const TrainFixture fixture;
  train(fixture.request("run"));
  const auto whole = trajectory_of(fixture / "run");
  std::string text = test::read_text(fixture / "run" / "metrics.jsonl");
  text.resize(text.rfind('\n', text.size() - 2) + 1);
  test::write_text(fixture / "run" / "metrics.jsonl", text);
  train(fixture.resume("run"));
  EXPECT_EQ(trajectory_of(fixture / "run"), whole);
}

TEST(Train, ResumeMayExtendARun) {
  const TrainFixture fixture;
  train(fixture.request("run", {"train.steps=4", "optim.schedule=constant"}));
  TrainRequest longer = fixture.resume("run");
  longer.overrides = {"train.steps=6"};
  train(longer);
  EXPECT_EQ(read_run_config(fixture / "run").train.steps, 6);
  longer.overrides = {"optim.lr=1"};
  EXPECT_NE(error_of([&] { train(longer); }).find("optim.lr is 0.01 in the run, 1.0 was asked for"),
            std::string::npos);
  longer.overrides = {"train.steps=5"};
  EXPECT_NE(error_of([&] { train(longer); }).find("train.steps is 5, but the run"),
            std::string::npos);
  EXPECT_EQ(read_run_config(fixture / "run").train.steps, 6);
}

TEST(Train, RefusesWhatWouldHarmARun) {
  const TrainFixture fixture;
  train(fixture.request("run", {"train.steps=1"}));
  EXPECT_NE(error_of([&] { train(fixture.request("run")); }).find("--resume"), std::string::npos);
  {
    const RunHold other(fixture / "run");
    EXPECT_NE(error_of([&] { train(fixture.resume("run")); }).find("is writing to this run"),
              std::string::npos);
  }
  EXPECT_NE(error_of([&] { train(fixture.resume("absent")); }).find("no run to resume"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(fixture / "absent"));
}

TEST(Train, LeavesNothingBehindWhereItCannotStart) {
  const TrainFixture fixture;
  for (const char* broken :
       {"data.train=/nowhere/data", "data.valid=/nowhere/data", "data.tokenizer=/nowhere/t.json",
        "data.train=", "data.tokenizer=", "model.vocab_size=3", "model.n_heads=3"}) {
    const std::string message = error_of([&] { train(fixture.request("run", {broken})); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(fixture / "run")) << broken;
  }
  TrainRequest other = fixture.request("run");
  other.device = "tpu";
  EXPECT_NE(error_of([&] { train(other); }).find("device tpu"), std::string::npos);
  EXPECT_FALSE(fs::exists(fixture / "run"));
}

// A stream that takes its time.
class SlowStream final : public SampleStream {
 public:
  SlowStream(const SampleStream& stream, int ms) : stream_(stream), ms_(ms) {}
  int64_t size() const override { return stream_.size(); }
  int n_ctx() const override { return stream_.n_ctx(); }
  void get(int64_t index, Sample& sample) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms_));
    stream_.get(index, sample);
  }

 private:
  const SampleStream& stream_;
  int ms_;
};

// A step that waits for 8 samples of 10 ms does little else, unless the machine was busy elsewhere
// and they were ready when it came back; hence the most of six.
TEST(Trainer, SaysHowLongAStepWaitedForData) {
  const TrainFixture fixture;
  ManualRun run(fixture, "run", {"data.valid="});
  const SlowStream slow(run.trainer.stream(), 10);
  Loader loader(slow, 8, 0);
  double most = 0.0;
  for (int step = 0; step < 6; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    const StepRecord record = *run.trainer.step(loader, *run.log);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
    EXPECT_LE(record.wait_seconds, record.seconds);
    EXPECT_LE(record.seconds, wall.count());
    const Json line = test::metrics_of(fixture / "run").back();
    EXPECT_DOUBLE_EQ(line["data_wait"].get<double>(), record.wait_seconds / record.seconds);
    EXPECT_DOUBLE_EQ(line["tokens_per_s"].get<double>(), 256 / record.seconds);
    most = std::max(most, record.wait_seconds / record.seconds);
  }
  EXPECT_GT(most, 0.5);
}

// The threads of the loader and how far ahead they are change no number, also where it is cut off.
TEST(Train, LoaderThreadsChangeNothing) {
  const TrainFixture fixture;
  train(fixture.request("a"));
  train(fixture.request("b", {"data.threads=3", "data.ahead=5", "train.steps=12"}));
  expect_same_run(fixture / "a", fixture / "b");
  for (int step = 8; step <= 12; ++step)
    fs::remove_all(fixture / "b" / fmt::format("step_{:08}", step));
  TrainRequest resume = fixture.resume("b");
  resume.overrides = {"data.threads=2", "data.ahead=1"};
  train(resume);
  expect_same_run(fixture / "a", fixture / "b");
  EXPECT_NE(test::read_text(fixture / "b" / "log.txt").find("2 threads, 1 step ahead, 6.0 KiB"),
            std::string::npos);
}

// The first of 96 samples that cannot be made; 96 where all can.
int64_t first_bad_sample(const TrainFixture& fixture) {
  const Tokenizer tokenizer = Tokenizer::load(fixture / "tokenizer.json");
  const auto stream = open_training_stream(load_config(fixture.config_path()), tokenizer);
  Sample sample;
  int64_t i = 0;
  try {
    for (; i < 96; ++i) stream->get(i, sample);
  } catch (const Error&) {
  }
  return i;
}

// An id that no tokenizer has, in a sample of some later step: the run ends there, although the
// loader met it while earlier steps were done; those are all done, logged and saved.
TEST(Train, BadDataEndsTheRunAtItsStep) {
  const TrainFixture fixture;
  const std::string intact = test::read_text(fixture / "train.bin");
  int64_t bad = 96;
  for (size_t at = 1000; bad < 24 || bad > 80; at += 1000) {
    ASSERT_LT(at + 2, intact.size());
    std::string bytes = intact;
    bytes[at] = bytes[at + 1] = '\xff';
    test::write_text(fixture / "train.bin", bytes);
    bad = first_bad_sample(fixture);
  }
  const std::string error = error_of([&] { train(fixture.request("run", {"data.ahead=4"})); });
  EXPECT_NE(error.find((fixture / "train.bin").string()), std::string::npos) << error;
  const int64_t done = bad / 8;
  EXPECT_EQ(trajectory_of(fixture / "run").back()["step"], done);
  EXPECT_EQ(test::newest_checkpoint(fixture / "run").filename(), fmt::format("step_{:08}", done));
}

// The embedding of one token is broken: the steps that meet it are skipped and change no bit, the
// others go on.
TEST(Trainer, NeverAppliesAnUpdateThatIsNotFinite) {
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const TrainFixture fixture;
    ManualRun run(fixture, "run", {"train.batch_tokens=64", "train.micro_batch=1"});
    const TokenId token = rare_token(run.trainer.stream(), 20, 2);
    const int64_t width = run.config.model.d_model;
    float* row = run.trainer.model().param("gpt_neox.embed_in.weight").as<float>() + token * width;
    std::fill_n(row, width, poison);
    int applied = 0, skipped = 0;
    for (int i = 0; i < 20; ++i) {
      const auto before = run.weights();
      const auto m = std::vector<float>(run.trainer.optimizer().m().as<float>(),
                                        run.trainer.optimizer().m().as<float>() + before.size());
      const StepRecord record = run.step();
      const auto after = run.weights();
      const std::vector<float> m_after(run.trainer.optimizer().m().as<float>(),
                                       run.trainer.optimizer().m().as<float>() + before.size());
      if (record.verdict == Verdict::apply) {
        ++applied;
        EXPECT_FALSE(same_bits(before, after));
        EXPECT_TRUE(std::isfinite(record.loss) && std::isfinite(record.grad_norm));
      } else {
        ++skipped;
        EXPECT_EQ(record.verdict, Verdict::nonfinite);
        EXPECT_TRUE(same_bits(before, after));
        EXPECT_TRUE(same_bits(m, m_after));
      }
    }
    EXPECT_GT(applied, 0);
    EXPECT_GT(skipped, 0);
    EXPECT_EQ(run.trainer.state().skipped, skipped);
    EXPECT_EQ(run.trainer.state().updates, applied);
    EXPECT_EQ(run.trainer.optimizer().updates(), applied);
    // Broken elements stay in their row.
    const auto weights = run.weights();
    const auto bad =
        std::count_if(weights.begin(), weights.end(), [](float w) { return !std::isfinite(w); });
    EXPECT_EQ(bad, width);
    const std::string log = test::read_text(run.directory / "log.txt");
    EXPECT_NE(log.find("not finite in sample"), std::string::npos);
    for (const Json& record : test::metrics_of(run.directory))
      EXPECT_EQ(record.contains("skip_reason"),
                record["loss"].is_null() || record["grad_norm"].is_null());
  }
}

TEST(Trainer, StopsAtAnUpdateThatIsNotFiniteWhereToldTo) {
  const TrainFixture fixture;
  ManualRun run(fixture, "run", {"train.on_nonfinite=stop"});
  run.step();
  run.trainer.model().param("gpt_neox.final_layer_norm.weight").as<float>()[3] =
      std::numeric_limits<float>::quiet_NaN();
  const auto before = run.weights();
  EXPECT_EQ(error_of([&] { run.step(); }),
            "step 2: loss or gradient norm is not finite and train.on_nonfinite is \"stop\"");
  EXPECT_TRUE(same_bits(before, run.weights()));
  EXPECT_EQ(run.trainer.state().step, 1);
  EXPECT_NE(
      test::read_text(run.directory / "log.txt")
          .find("not finite in samples 8, 9, 10, 11, 12, 13, 14, 15; samples 8..15; update not"),
      std::string::npos);
}

TEST(Train, DivergenceStopsAfterSkipsInARowWithWeightsThatAreFinite) {
  const TrainFixture fixture;
  const std::string message = error_of([&] {
    train(fixture.request("run", {"optim.lr=1e30", "optim.clip=0", "train.max_skips=3",
                                  "optim.warmup=0", "train.steps=50"}));
  });
  EXPECT_NE(message.find("3 updates in a row were skipped (train.max_skips)"), std::string::npos);
  const Config config = read_run_config(fixture / "run");
  Device device("cpu", 1);
  Gpt model(config.model, {.max_batch = 1, .training = false, .head_chunk = 64}, device);
  load_checkpoint(test::newest_checkpoint(fixture / "run"), model, nullptr);
  const float* weights = model.params().as<float>();
  EXPECT_TRUE(std::all_of(weights, weights + model.params().numel(),
                          [](float w) { return std::isfinite(w); }));
  trajectory_of(fixture / "run");
}

TEST(Train, SkippedUpdatesAreCounted) {
  const TrainFixture fixture;
  train(fixture.request("run", {"train.spike_zscore=0.05", "train.spike_window=2"}));
  int skipped = 0;
  for (const Json& record : test::metrics_of(fixture / "run")) {
    if (record.contains("eval")) continue;
    if (record.contains("skip_reason")) {
      EXPECT_EQ(record["skip_reason"], "spike");
      ++skipped;
    }
    EXPECT_EQ(record["skipped"], skipped);
  }
  EXPECT_GT(skipped, 0);
}

// The size of micro-batches changes the order of sums and nothing else.
TEST(Train, MicroBatchSizeDoesNotChangeTheTrajectory) {
  const TrainFixture fixture;
  std::vector<std::vector<Json>> runs;
  for (const int micro : {1, 3, 8, 64}) {
    const std::string name = fmt::format("micro{}", micro);
    train(fixture.request(name, {fmt::format("train.micro_batch={}", micro)}));
    runs.push_back(trajectory_of(fixture / name));
  }
  for (const auto& run : runs) {
    ASSERT_EQ(run.size(), runs[0].size());
    for (size_t i = 0; i < run.size(); ++i) {
      if (run[i].contains("eval")) continue;
      const double a = runs[0][i]["loss"].get<double>(), b = run[i]["loss"].get<double>();
      EXPECT_FALSE(!(std::abs(a - b) <= 1e-4 * a)) << i << ": " << a << " and " << b;
    }
  }
}

// Recorded once; a refactoring that changes these numbers changes what midfill computes.
TEST(Train, TwentyStepsGiveTheRecordedLosses) {
  constexpr double kRecorded[] = {5.781546, 5.693856, 5.581438, 5.429654, 5.176877,
                                  5.008825, 4.910273, 4.673096, 4.479165, 4.469613,
                                  4.405914, 4.353234, 4.294769, 4.073247, 3.943614,
                                  4.289930, 3.974436, 3.882919, 4.189618, 4.141146};
  const TrainFixture fixture;
  train(fixture.request("run", {"train.steps=20", "data.valid=", "checkpoint.every=0"}));
  const auto run = trajectory_of(fixture / "run");
  ASSERT_EQ(run.size(), 20u);
  std::string found;
  for (const Json& record : run) found += fmt::format("{:.6f}, ", record["loss"].get<double>());
  ASSERT_EQ(std::size(kRecorded), 20u) << found;
  for (size_t i = 0; i < 20; ++i) {
    const double loss = run[i]["loss"].get<double>();
    EXPECT_FALSE(!(std::abs(loss - kRecorded[i]) <= 1e-4 * kRecorded[i]))
        << "step " << i + 1 << "\n"
        << found;
  }
}

}  // namespace
}  // namespace midfill
