#include "src/train/train.h"

#include <fmt/format.h>

#include <cstdio>

#include "kernels/common/check.h"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/run_directory.h"
#include "src/io/file.h"
#include "src/io/units.h"
#include "src/tokenizer/tokenizer.h"
#include "src/train/peak.h"
#include "src/train/report.h"
#include "src/train/run_log.h"
#include "src/train/stop_signal.h"
#include "src/train/trainer.h"

namespace midfill {

namespace {

Tokenizer load_tokenizer(const Config& config) {
  require(!config.data.tokenizer.empty(),
          "data.tokenizer is empty, expected the path of a tokenizer.json");
  return Tokenizer::load(config.data.tokenizer);
}

std::string device_text(Device& device, DType dtype) {
  const std::string threads = fmt::format("{} threads", device.cpu().threads());
  if (!device.is_cuda()) return "cpu, " + threads;
  return fmt::format("cuda, {}, {}; cpu, {}", device.cuda().name(), name_of(dtype), threads);
}

void log_start(RunLog& log, const Config& config, Device& device, const Peak& peak,
               const Trainer& trainer) {
  for (const std::string& line : describe(config)) log.line(line);
  for (const std::string& line : describe(trainer.stream().sources(), config)) log.line(line);
  log.line(fmt::format("{:<16}{}", "device", device_text(device, config.train.dtype)));
  log.line(peak.tflops > 0
               ? fmt::format("{:<16}{:.3g} TFLOP/s for MFU ({})", "peak", peak.tflops, peak.source)
               : fmt::format("{:<16}unknown: {}", "peak", peak.source));
  if (!trainer.evaluates()) log.line(fmt::format("{:<16}none: data.valid is empty", "evaluation"));
}

// From a trainer that is ready to the end of the run.
void run_trainer(const TrainRequest& request, const Config& config, Trainer& trainer,
                 Device& device, const std::vector<std::string>& notes) {
  const Peak peak = config.log.peak_tflops > 0 ? Peak{config.log.peak_tflops, "log.peak_tflops"}
                                               : peak_of(device, config.train.dtype);
  RunLog log(request.run, config, trainer.state().step, peak.tflops);
  log_start(log, config, device, peak, trainer);
  for (const std::string& note : notes) log.line(note);
  const StopSignal stop;
  if (trainer.run(request.run, log, stop))
    log.line(fmt::format("done: {} steps, {} tokens, {} updates skipped; run in {}",
                         trainer.state().step, with_commas(trainer.state().tokens),
                         trainer.state().skipped, request.run.string()));
}

// What writers of this run that were killed left half-written. The caller holds the run's lock, so
// none of it is being written now.
void remove_leftovers(const std::filesystem::path& run) {
  remove_unfinished_checkpoints(run);
  std::vector<std::filesystem::path> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(run)) {
    const std::string name = entry.path().filename();
    for (const char* file : {"config.json.tmp.", "tokenizer.json.tmp.", "metrics.jsonl.tmp."})
      if (name.starts_with(file)) leftovers.push_back(entry.path());
  }
  std::error_code ignored;
  for (const auto& path : leftovers) std::filesystem::remove(path, ignored);
}

void start(const TrainRequest& request) {
  require(
      !is_run(request.run),
      "{}: already holds a run; continue it with --resume or choose another directory with --run",
      request.run.string());
  Config config = load_config(request.config, request.overrides);
  const Tokenizer tokenizer = load_tokenizer(config);
  config = resolve_vocabulary(config, tokenizer.vocab_size());
  Device device(request.device, config.train.threads);
  Trainer trainer(config, tokenizer, device);
  // All that the configuration names has been read: only now does anything appear on disk.
  std::error_code failed;
  std::filesystem::create_directories(request.run, failed);
  require(!failed, "{}: cannot create: {}", request.run.string(), failed.message());
  const RunLock lock(request.run);
  remove_leftovers(request.run);
  create_run(request.run, config, tokenizer);
  run_trainer(request, config, trainer, device,
              {fmt::format("new run in {}", request.run.string())});
}

void resume(const TrainRequest& request) {
  require(is_run(request.run), "{}: no run to resume here (no config.json)", request.run.string());
  const RunLock lock(request.run);
  remove_leftovers(request.run);
  const Config stored = read_run_config(request.run);
  const Config wanted = request.config.empty()
                            ? parse_config(to_json(stored), "config.json", request.overrides)
                            : load_config(request.config, request.overrides);
  std::vector<std::string> notes;
  const auto found = find_checkpoint(request.run);
  const Config config = merge_for_resume(stored, wanted, found ? found->step : 0, notes);
  const Tokenizer tokenizer = Tokenizer::load(run_tokenizer(request.run));
  Device device(request.device, config.train.threads);
  Trainer trainer(config, tokenizer, device);
  if (found) {
    for (const std::string& why : found->passed_over) notes.push_back("passed over: " + why);
    trainer.restore(found->path);
    notes.push_back(
        fmt::format("resuming after step {} from {}", found->step, found->path.string()));
  } else {
    notes.push_back(
        fmt::format("{} has no checkpoint yet: starting at step 0", request.run.string()));
  }
  require(trainer.state().step <= config.train.steps,
          "train.steps is {}, but the run in {} is at step {} already", config.train.steps,
          request.run.string(), trainer.state().step);
  if (!differences(stored, config).empty())
    write_file(request.run / "config.json", to_json(config));
  run_trainer(request, config, trainer, device, notes);
}

}  // namespace

Config resolve_vocabulary(Config config, int tokenizer_vocab) {
  if (config.model.vocab_size == 0) config.model.vocab_size = tokenizer_vocab;
  require(config.model.vocab_size >= tokenizer_vocab,
          "model.vocab_size is {}, expected at least the {} ids of {} (or 0)",
          config.model.vocab_size, tokenizer_vocab, config.data.tokenizer);
  return config;
}

Config merge_for_resume(const Config& run, const Config& wanted, int64_t step,
                        std::vector<std::string>& notes) {
  Config merged = wanted;
  if (merged.model.vocab_size == 0) merged.model.vocab_size = run.model.vocab_size;
  for (const ConfigDifference& d : differences(run, merged)) {
    const bool free = step == 0 && !d.key.starts_with("model.");
    require(
        d.may_change || free,
        "{} is {} in the run, {} was asked for: this key cannot change at resume; start a new run",
        d.key, d.before, d.after);
    notes.push_back(fmt::format("{} changes from {} to {}", d.key, d.before, d.after));
  }
  return merged;
}

void train(const TrainRequest& request) {
  request.resume ? resume(request) : start(request);
}

void dry_run(const TrainRequest& request) {
  Config config = load_config(request.config, request.overrides);
  if (config.model.vocab_size == 0)
    config = resolve_vocabulary(config, load_tokenizer(config).vocab_size());
  for (const std::string& line : describe(config)) std::printf("%s\n", line.c_str());
}

}  // namespace midfill
