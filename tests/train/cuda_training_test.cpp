// Training on the device `cuda`, here the emulated one: it follows the CPU, repeats itself, and its
// late records change nothing but the moment when they are known.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "src/checkpoint/run_directory.h"
#include "src/data/sample_stream.h"
#include "src/model/host_arena.h"
#include "src/train/peak.h"
#include "src/train/report.h"
#include "src/train/trainer.h"
#include "tests/train/midfill_process.h"
#include "tests/train/train_fixture.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::expect_same_run;
using test::MidfillProcess;
using test::TrainFixture;
using test::trajectory_of;

using Overrides = std::vector<std::string>;

// Two layers of one head of 32, widths that the kernels take.
Overrides with(Overrides more, const std::string& dtype = "f32") {
  Overrides all = {"model.n_layers=2", "model.n_heads=1", "model.vocab_multiple=8",
                   "train.dtype=" + dtype};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TrainRequest on(const std::string& device, TrainRequest request) {
  request.device = device;
  return request;
}

// Losses of a run of twenty steps.
std::vector<double> losses_of(const TrainFixture& fixture, const std::string& device,
                              const std::string& dtype) {
  const std::string name = device + "_" + dtype;
  train(on(
      device,
      fixture.request(name, with({"train.steps=20", "data.valid=", "checkpoint.every=0"}, dtype))));
  std::vector<double> losses;
  for (const Json& record : trajectory_of(fixture / name))
    losses.push_back(record["loss"].get<double>());
  EXPECT_EQ(losses.size(), 20u);
  return losses;
}

// The same twenty steps on the CPU in f32, but forward and backward see weights rounded to bf16:
// the least that a run in bf16 can do. What it adds, rounding of activations and of their
// gradients, is of the same size.
std::vector<double> losses_with_rounded_weights(const TrainFixture& fixture) {
  const Tokenizer tokenizer = Tokenizer::load(fixture / "tokenizer.json");
  const Config config = resolve_vocabulary(
      load_config(fixture.config_path(), with({"train.steps=20"})), tokenizer.vocab_size());
  const auto stream = open_training_stream(config, tokenizer);
  Device device("cpu", 1);
  Gpt model(config.model, training_options(config), device);
  initialize(model, config.seed);
  Optimizer optimizer(config.optim, model);
  const int64_t rows = samples_per_step(config), at_once = config.train.micro_batch;
  Loader loader(*stream, rows, 0);
  float* weights = model.params().as<float>();
  const auto n = static_cast<size_t>(model.params().numel());
  std::vector<double> losses;
  for (int step = 1; step <= 20; ++step) {
    const SampleBatch& batch = loader.next();
    const std::vector<float> master(weights, weights + n);
    for (size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(Bf16(weights[i]));
    model.zero_grads();
    double sum = 0.0;
    for (int64_t row = 0; row < rows; row += at_once) {
      const int64_t part = std::min(at_once, rows - row);
      std::vector<float> token_losses(static_cast<size_t>(part * batch.n_ctx));
      sum += model.forward_backward(rows_of(batch, row, part), token_losses);
    }
    losses.push_back(sum / batch.total_weight);
    std::copy(master.begin(), master.end(), weights);
    optimizer.enqueue_update(learning_rate(config.optim, step, 20), batch.total_weight);
  }
  return losses;
}

double root_mean_square(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

TEST(CudaTraining, LossesFollowTheCpuInF32) {
  const TrainFixture fixture;
  const auto cpu = losses_of(fixture, "cpu", "f32"), cuda = losses_of(fixture, "cuda", "f32");
  EXPECT_LT(cpu.back(), cpu.front() - 1.0);
  for (size_t i = 0; i < cpu.size(); ++i)
    EXPECT_FALSE(!(std::abs(cuda[i] - cpu[i]) <= 1e-5 * cpu[i]))
        << "step " << i + 1 << ": " << cuda[i] << " and " << cpu[i];
}

TEST(CudaTraining, LossesFollowTheCpuWithinTwiceTheRoundingInBf16) {
  const TrainFixture fixture;
  const auto cpu = losses_of(fixture, "cpu", "f32"), cuda = losses_of(fixture, "cuda", "bf16");
  const double found = root_mean_square(cuda, cpu);
  const double rounding = root_mean_square(losses_with_rounded_weights(fixture), cpu);
  EXPECT_GT(rounding, 0.0);
  EXPECT_FALSE(!(found <= 2 * rounding)) << found << ", and of rounded weights " << rounding;
}

TEST(CudaTraining, MicroBatchSizeDoesNotChangeTheTrajectory) {
  const TrainFixture fixture;
  std::vector<std::vector<Json>> runs;
  for (const int micro : {1, 3, 8}) {
    const std::string name = fmt::format("micro{}", micro);
    train(on("cuda",
             fixture.request(name, with({fmt::format("train.micro_batch={}", micro),
                                         "train.steps=6", "data.valid=", "checkpoint.every=0"}))));
    runs.push_back(trajectory_of(fixture / name));
  }
  for (const auto& run : runs) {
    ASSERT_EQ(run.size(), 6u);
    for (size_t i = 0; i < run.size(); ++i) {
      const double a = runs[0][i]["loss"].get<double>(), b = run[i]["loss"].get<double>();
      EXPECT_FALSE(!(std::abs(a - b) <= 1e-4 * a)) << i << ": " << a << " and " << b;
    }
  }
}

class CudaTrainingOf : public testing::TestWithParam<const char*> {
 protected:
  Overrides with(Overrides more) const { return midfill::with(std::move(more), GetParam()); }
  TrainFixture fixture;
};
INSTANTIATE_TEST_SUITE_P(Dtype, CudaTrainingOf, testing::Values("f32", "bf16"),
                         [](const auto& value) { return std::string(value.param); });

// With records late on both sides of the cut and evaluations and checkpoints between.
TEST_P(CudaTrainingOf, ResumeIsBitIdentical) {
  train(on("cuda", fixture.request("whole", with({"train.steps=9", "checkpoint.every=4"}))));
  for (const int k : {0, 4, 8}) {
    const std::string name = fmt::format("cut{}", k);
    test::copy_as_of(fixture / "whole", fixture / name, k);
    train(on("cuda", fixture.resume(name)));
    expect_same_run(fixture / "whole", fixture / name);
  }
}

// A guard that never finds a spike makes every step wait for its own numbers.
TEST_P(CudaTrainingOf, LateRecordsAreTheSameRecords) {
  const Overrides late = with({"train.spike_window=4", "checkpoint.every=4", "train.steps=7"});
  Overrides immediate = late;
  immediate.push_back("train.spike_zscore=1e30");
  train(on("cuda", fixture.request("late", late)));
  train(on("cuda", fixture.request("immediate", immediate)));
  expect_same_run(fixture / "late", fixture / "immediate");
}

// A trainer on cuda whose weights a test breaks, stepped by hand.
struct BrokenRun {
  BrokenRun(const TrainFixture& fixture, const std::string& name, const Overrides& overrides)
      : tokenizer(Tokenizer::load(fixture / "tokenizer.json")),
        config(resolve_vocabulary(load_config(fixture.config_path(), overrides),
                                  tokenizer.vocab_size())),
        trainer(config, tokenizer, device),
        directory(fixture / name) {
    fs::create_directories(directory);
    log.emplace(directory, config, 0, 1.0);
  }
  void write(std::string_view parameter, int64_t begin, int64_t n, float value) {
    Gpt& model = trainer.model();
    HostArena weights(device, model.params());
    float* first = weights.at(model.table().at(parameter)).as<float>() + begin;
    std::fill_n(first, n, value);
    weights.store();
    model.refresh_compute_params();
  }
  // Bits of weights, moments and the rounded weights, and the count of updates.
  std::vector<std::string> bits() {
    std::vector<std::string> out;
    Gpt& model = trainer.model();
    const Optimizer& optimizer = trainer.optimizer();
    for (const Tensor& arena :
         {model.params(), model.compute_params(), optimizer.m(), optimizer.v()}) {
      const HostArena host(device, arena);
      out.emplace_back(static_cast<const char*>(host.tensor().data()),
                       static_cast<size_t>(arena.bytes()));
    }
    out.push_back(std::to_string(optimizer.updates()));
    return out;
  }

  Tokenizer tokenizer;
  Config config;
  Device device{"cuda", 1};
  Trainer trainer;
  fs::path directory;
  std::optional<RunLog> log;
};

std::vector<std::string> skip_lines(const fs::path& run) {
  std::vector<std::string> lines;
  std::istringstream text(test::read_text(run / "log.txt"));
  for (std::string line; std::getline(text, line);)
    if (line.find("update not applied") != std::string::npos) lines.push_back(line);
  return lines;
}

// The embedding of a token that only some steps meet is not finite: the device applies the others
// and leaves everything as it is at these, and the records that come later say so.
TEST_P(CudaTrainingOf, TheDeviceNeverAppliesAnUpdateThatIsNotFinite) {
  constexpr int kSteps = 12;
  const Overrides small = with({"train.batch_tokens=64", "train.micro_batch=1",
                                "train.spike_window=4", "data.valid=", "train.steps=100"});
  Overrides waiting = small;
  waiting.push_back("train.spike_zscore=1e30");
  BrokenRun late(fixture, "late", small), immediate(fixture, "immediate", waiting);
  const int32_t token = test::rare_token(late.trainer.stream(), kSteps, 2);
  const int64_t width = late.config.model.d_model;
  for (BrokenRun* run : {&late, &immediate}) {
    run->write("gpt_neox.embed_in.weight", token * width, width,
               std::numeric_limits<float>::quiet_NaN());
    Loader loader(run->trainer.stream(), 2, 0);
    for (int step = 1; step <= kSteps; ++step) {
      const auto before = run->bits();
      const auto record = run->trainer.step(loader, *run->log);
      const bool changed = run->bits() != before;
      if (run == &immediate) {
        ASSERT_TRUE(record.has_value());
        EXPECT_EQ(record->step, step);
        EXPECT_EQ(changed, record->verdict == Verdict::apply) << "step " << step;
      } else {
        ASSERT_EQ(record.has_value(), step > 1);
        if (record) {
          EXPECT_EQ(record->step, step - 1);
        }
        EXPECT_EQ(run->trainer.state().step, step - 1);
      }
    }
    run->trainer.drain(*run->log);
    EXPECT_EQ(run->trainer.state().step, kSteps);
  }
  EXPECT_EQ(late.bits(), immediate.bits());
  EXPECT_EQ(trajectory_of(late.directory), trajectory_of(immediate.directory));
  EXPECT_EQ(skip_lines(late.directory), skip_lines(immediate.directory));
  const TrainState& state = late.trainer.state();
  EXPECT_EQ(std::ssize(skip_lines(late.directory)), state.skipped);
  EXPECT_GT(state.skipped, 0);
  EXPECT_GT(state.updates, 0);
  EXPECT_EQ(state.skipped + state.updates, kSteps);
  EXPECT_EQ(state.updates, late.trainer.optimizer().updates());
  EXPECT_EQ(state.skipped_in_row, immediate.trainer.state().skipped_in_row);
}

TEST(CudaTraining, StopsAtAnUpdateThatIsNotFiniteWhereToldTo) {
  const TrainFixture fixture;
  BrokenRun run(fixture, "run", with({"train.on_nonfinite=stop"}));
  Loader loader(run.trainer.stream(), 8, 0);
  ASSERT_EQ(run.trainer.step(loader, *run.log)->step, 1);
  run.write("gpt_neox.final_layer_norm.weight", 3, 1, std::numeric_limits<float>::quiet_NaN());
  const auto before = run.bits();
  EXPECT_EQ(test::error_of([&] { run.trainer.step(loader, *run.log); }),
            "step 2: loss or gradient norm is not finite and train.on_nonfinite is \"stop\"");
  EXPECT_EQ(run.bits(), before);
  EXPECT_EQ(run.trainer.state().step, 1);
}

// One step later than on the CPU, and that step is part of the run like any other.
TEST(CudaTraining, TooManySkipsInARowStopTheRunOneStepLate) {
  const TrainFixture fixture;
  const std::string message = test::error_of([&] {
    train(on("cuda", fixture.request(
                         "run", with({"optim.lr=1e30", "optim.clip=0", "train.max_skips=3",
                                      "optim.warmup=0", "train.steps=50", "checkpoint.every=0"}))));
  });
  EXPECT_NE(message.find("3 updates in a row were skipped (train.max_skips)"), std::string::npos)
      << message;
  const auto run = trajectory_of(fixture / "run");
  EXPECT_EQ(run.back()["skipped"], 4);
  const fs::path checkpoint = test::newest_checkpoint(fixture / "run");
  const Json state = parse_json(test::read_text(checkpoint / "state.json"), "state.json");
  EXPECT_EQ(state["step"], run.back()["step"]);
  EXPECT_EQ(state["skipped_in_row"], 4);
  EXPECT_EQ(state["updates"].get<int64_t>() + 4, state["step"].get<int64_t>());
}

// What the program does with the device, from a run to its evaluation and continuation elsewhere.
class CudaProcess : public CudaTrainingOf {
 protected:
  int run(const std::vector<std::string>& arguments) {
    return MidfillProcess(arguments, fixture / "output").wait();
  }
  std::vector<std::string> train_on_cuda(const std::string& name, Overrides overrides) {
    std::vector<std::string> out = {
        "train", fixture.config_path(), "--run", fixture / name, "--device", "cuda"};
    for (const std::string& value : with(std::move(overrides))) {
      out.push_back("--set");
      out.push_back(value);
    }
    return out;
  }
  std::string output() { return test::read_text(fixture / "output"); }
};
INSTANTIATE_TEST_SUITE_P(Dtype, CudaProcess, testing::Values("f32", "bf16"),
                         [](const auto& value) { return std::string(value.param); });

// Nothing but the end writes a checkpoint, so a record is always under way when the signal comes.
TEST_P(CudaProcess, SignalWhileARecordIsLate) {
  const Overrides overrides = {"train.steps=24", "checkpoint.every=0", "data.valid="};
  ASSERT_EQ(run(train_on_cuda("whole", overrides)), 0) << output();
  MidfillProcess process(train_on_cuda("term", overrides), fixture / "output");
  ASSERT_TRUE(test::wait_for_bytes(fixture / "term" / "metrics.jsonl", 1000));
  process.send(SIGTERM);
  ASSERT_EQ(process.wait(), 128 + SIGTERM) << output();
  EXPECT_NE(output().find("stopped by SIGTERM after step"), std::string::npos) << output();
  ASSERT_EQ(run({"train", "--run", fixture / "term", "--resume", "--device", "cuda"}), 0)
      << output();
  EXPECT_NE(output().find("resuming after step"), std::string::npos);
  expect_same_run(fixture / "whole", fixture / "term");
}

TEST_P(CudaProcess, CheckpointEvaluatesAndContinuesOnTheCpu) {
  ASSERT_EQ(
      run(train_on_cuda("run", {"train.steps=6", "checkpoint.every=0", "optim.schedule=constant"})),
      0)
      << output();
  EXPECT_NE(output().find("cuda, emulated GPU, " + std::string(GetParam())), std::string::npos)
      << output();
  const Json logged = test::metrics_of(fixture / "run").back()["eval"];
  ASSERT_EQ(run({"eval", "--run", fixture / "run", "--threads", "1", "--json"}), 0) << output();
  const std::string text = output();
  const Json found = parse_json(text.substr(text.rfind('\n', text.size() - 2) + 1), "eval");
  const double tolerance = std::string_view(GetParam()) == "f32" ? 1e-5 : 1e-2;
  for (const auto& [stream, result] : logged.items())
    EXPECT_NEAR(result["nats_per_token"].get<double>(),
                found[stream]["nats_per_token"].get<double>(), tolerance)
        << stream;
  ASSERT_EQ(run({"train", "--run", fixture / "run", "--resume", "--set", "train.steps=8", "--set",
                 "train.dtype=f32"}),
            0)
      << output();
  const auto steps = trajectory_of(fixture / "run");
  EXPECT_EQ(steps.back()["step"], 8);
}

TEST(CudaTraining, ThePeakOfTheEmulatedDeviceIsUnknown) {
  Device emulated("cuda", 1);
  EXPECT_EQ(peak_of(emulated, DType::bf16).tflops, 0.0);
  const TrainFixture fixture;
  train(on("cuda",
           fixture.request("run", with({"train.steps=1", "data.valid=", "log.peak_tflops=0"}))));
  EXPECT_TRUE(test::metrics_of(fixture / "run").front()["mfu"].is_null());
  const std::string log = test::read_text(fixture / "run" / "log.txt");
  EXPECT_NE(log.find("unknown: give log.peak_tflops"), std::string::npos);
  EXPECT_NE(log.find("MFU unknown"), std::string::npos);
}

}  // namespace
}  // namespace midfill
