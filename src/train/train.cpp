#include "src/train/train.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <optional>

#include "kernels/common/check.h"
#include "kernels/common/memory_limit.h"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/run_directory.h"
#include "src/checkpoint/run_facts.h"
#include "src/data/fingerprint.h"
#include "src/io/file.h"
#include "src/io/new_folders.h"
#include "src/io/units.h"
#include "src/tokenizer/tokenizer.h"
#include "src/train/peak.h"
#include "src/train/report.h"
#include "src/train/run_data.h"
#include "src/train/run_log.h"
#include "src/train/stop_signal.h"
#include "src/train/trainer.h"

namespace midfill {

namespace {

Tokenizer load_tokenizer(const Config& config) {
  require(!config.data.tokenizer.empty(),
          "data.tokenizer is empty, expected the path of a tokenizer.json");
  return Tokenizer::load(config.data.tokenizer, config.data.eod);
}

std::string device_text(Device& device, DType dtype) {
  const Cpu& cpu = device.cpu();
  std::string threads = fmt::format("{} thread{}", cpu.threads(), cpu.threads() > 1 ? "s" : "");
  if (!cpu.shortfall().empty()) threads += fmt::format(" ({})", cpu.shortfall());
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
  if (!trainer.evaluator()) log.line(fmt::format("{:<16}none: data.valid is empty", "evaluation"));
}

// From a trainer that is ready to the end of the run; the exit status.
int run_trainer(const RunHold& hold, RunFacts& facts, const Config& config, Trainer& trainer,
                Device& device, const std::vector<std::string>& notes) {
  const Peak peak = config.log.peak_tflops > 0 ? Peak{config.log.peak_tflops, "log.peak_tflops"}
                                               : peak_of(device, config.train.dtype);
  const StopSignal stop("ending after this step, with a checkpoint", StopSignal::Save::on_usr2);
  RunLog log(hold.path(), config, trainer.state().step, peak.tflops);
  log_start(log, config, device, peak, trainer);
  for (const std::string& note : notes) log.line(note);
  if (!trainer.run(hold, facts, log, stop)) return stop.exit_status();
  log.line(fmt::format("done: {} steps, {} tokens, {} updates skipped; run in {}",
                       trainer.state().step, with_commas(trainer.state().tokens),
                       trainer.state().skipped, hold.path().string()));
  return 0;
}

// What writers of this run that were killed left half-written. The caller holds the run, so none of
// it is being written now. A line for each that could not be removed.
std::vector<std::string> remove_leftovers(const std::filesystem::path& run) {
  std::vector<std::string> failures = remove_unfinished_checkpoints(run);
  std::vector<std::filesystem::path> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(run)) {
    const std::string name = entry.path().filename();
    for (const char* file :
         {"config.json.tmp.", "tokenizer.json.tmp.", "run.json.tmp.", "metrics.jsonl.tmp."})
      if (name.starts_with(file)) leftovers.push_back(entry.path());
  }
  for (const auto& path : leftovers) {
    std::error_code failed;
    std::filesystem::remove(path, failed);
    if (failed)
      failures.push_back(fmt::format("{}: cannot remove: {}", path.string(), failed.message()));
  }
  return failures;
}

// What the writer of a run says before anything else: of its lock, and of what is in its way.
std::vector<std::string> take_over(const RunHold& hold) {
  std::vector<std::string> notes = remove_leftovers(hold.path());
  if (!hold.warning().empty()) notes.insert(notes.begin(), hold.warning());
  return notes;
}

// Before any of it is allocated: batches as large as a typing error makes them would otherwise take
// the machine's memory piece by piece.
void require_memory(const Config& config, Device& device) {
  int64_t model = 0;
  if (!device.is_cuda())
    for (const MemoryLine& line : Gpt::memory(config.model, training_options(config)))
      model += line.bytes;
  const int64_t batches = batch_bytes(config);
  const MemoryLimit limit = memory_limit();
  require(static_cast<uint64_t>(model) + static_cast<uint64_t>(batches) <= limit.left(),
          "out of memory: the run needs {} for its model and {} for batches (train.batch_tokens, "
          "data.ahead), and has {} left: {}",
          bytes_text(model), bytes_text(batches), bytes_text(static_cast<int64_t>(limit.left())),
          limit.text);
}

RunFacts data_facts(const Trainer& trainer) {
  RunFacts facts;
  facts.train = facts_of(trainer.stream().sources());
  if (trainer.evaluator()) facts.valid = facts_of(trainer.evaluator()->sources());
  return facts;
}

int start(const TrainRequest& request) {
  refuse_run(request.run);
  Config config = load_config(request.config, request.overrides);
  require(config.optim.warmup_steps <= config.train.steps,
          "optim.warmup_steps is {}, expected at most train.steps, {}", config.optim.warmup_steps,
          config.train.steps);
  config.optim.warmup_steps = warmup_steps(config.optim, config.train.steps);
  const Tokenizer tokenizer = load_tokenizer(config);
  config = resolve_vocabulary(config, tokenizer.vocab_size());
  Device device(request.device, config.train.threads);
  require_memory(config, device);
  Trainer trainer(config, tokenizer, device);
  trainer.prepare();
  RunFacts facts = data_facts(trainer);
  // All that the configuration names has been read, and all memory is there: only now does anything
  // appear on disk.
  std::optional<NewFolders> folders(request.run / "config.json");
  const RunHold hold(request.run);
  std::vector<std::string> notes = take_over(hold);
  for (std::string& note : tokenizer.notes()) notes.push_back(std::move(note));
  create_run(request.run, config, tokenizer);
  folders.reset();  // from here on they are the run's
  facts.tokenizer = fingerprint_of_file(run_tokenizer(request.run));
  write_run_facts(request.run, facts);
  notes.push_back(fmt::format("new run in {}", request.run.string()));
  return run_trainer(hold, facts, config, trainer, device, notes);
}

// The facts of a run that goes on. Throws Error where it would go on with other data than it began
// with, unless that was asked for or no step has been done. `same_valid`: data.valid is that of the
// run.
RunFacts checked_facts(const TrainRequest& request, const RunFacts& began, const Trainer& trainer,
                       bool same_valid, std::vector<std::string>& notes) {
  RunFacts now = data_facts(trainer);
  now.tokenizer = fingerprint_of_file(run_tokenizer(request.run));
  now.saved = began.saved;
  try {
    if (!began.tokenizer.empty())
      require(now.tokenizer == began.tokenizer,
              "{}: found fingerprint {}, the run began with {}; put the tokenizer back, or go on "
              "with this one with --accept-data",
              run_tokenizer(request.run).string(), now.tokenizer, began.tokenizer);
    if (!began.train.empty())
      require_same_data("data.train", began.train, trainer.stream().sources(), now.train);
    if (!began.valid.empty() && same_valid)
      require_same_data("data.valid", began.valid, trainer.evaluator()->sources(), now.valid);
  } catch (const Error& changed) {
    if (trainer.state().step > 0 && !request.accept_data) throw;
    notes.push_back(fmt::format("{} changed since the run began: accepted", changed.what()));
  }
  return now;
}

int resume(const TrainRequest& request) {
  require(is_run(request.run), "{}: no run to resume here (no config.json)", request.run.string());
  const RunHold hold(request.run);
  std::vector<std::string> notes = take_over(hold);
  const Config stored = read_run_config(request.run);
  const Config wanted = request.config.empty()
                            ? parse_config(to_json(stored), "config.json", request.overrides)
                            : load_config(request.config, request.overrides);
  const RunFacts began = read_run_facts(request.run);
  const auto found = request.from ? std::optional(find_checkpoint(request.run, *request.from))
                                  : find_checkpoint(request.run);
  require(found || began.saved < 0,
          "{}: a checkpoint of step {} was saved, but there is no step_* here now; put it back, or "
          "start a new run elsewhere with --run",
          request.run.string(), began.saved);
  const Config config =
      merge_for_resume(stored, wanted, found ? found->step : 0, request.from.has_value(), notes);
  const Tokenizer tokenizer = Tokenizer::load(run_tokenizer(request.run), config.data.eod);
  Device device(request.device, config.train.threads);
  require_memory(config, device);
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
  const TrainState& state = trainer.state();
  require(state.step <= config.train.steps,
          "train.steps is {}, but the run in {} is at step {} already", config.train.steps,
          request.run.string(), state.step);
  if (state.skipped_in_row >= config.train.max_skips)
    fail("{}: its last {} updates were skipped (train.max_skips is {}); {}", found->path.string(),
         state.skipped_in_row, config.train.max_skips, advice_after_skips(request.run));
  RunFacts facts =
      checked_facts(request, began, trainer, stored.data.valid == config.data.valid, notes);
  trainer.prepare();
  // Only now does anything in the run change.
  for (const auto& aside : set_aside_after(request.run, request.from.value_or(INT64_MAX)))
    notes.push_back(fmt::format("set aside: {}", aside.string()));
  if (request.from) facts.saved = *request.from;
  if (!differences(stored, config).empty())
    write_file(request.run / "config.json", to_json(config));
  write_run_facts(request.run, facts);
  return run_trainer(hold, facts, config, trainer, device, notes);
}

}  // namespace

Config resolve_vocabulary(Config config, int tokenizer_vocab) {
  if (config.model.vocab_size == 0) config.model.vocab_size = tokenizer_vocab;
  require(config.model.vocab_size >= tokenizer_vocab,
          "model.vocab_size is {}, expected at least the {} ids of {} (or 0)",
          config.model.vocab_size, tokenizer_vocab, config.data.tokenizer);
  return config;
}

Config merge_for_resume(const Config& run, const Config& wanted, int64_t step, bool branch,
                        std::vector<std::string>& notes) {
  Config before = run, merged = wanted;
  if (merged.model.vocab_size == 0) merged.model.vocab_size = run.model.vocab_size;
  // The warm-up is as long as it was when the run started, also where an older version did not
  // write down how long that is.
  const bool started = step > 0;
  if (started) before.optim.warmup_steps = warmup_steps(run.optim, run.train.steps);
  if (merged.optim.warmup_steps == 0)
    merged.optim.warmup_steps = started && merged.optim.warmup == run.optim.warmup
                                    ? before.optim.warmup_steps
                                    : warmup_steps(merged.optim, merged.train.steps);
  if (before.optim.warmup_steps == 0) before.optim.warmup_steps = merged.optim.warmup_steps;
  for (const ConfigDifference& d : differences(before, merged)) {
    const bool free =
        (step == 0 && !d.key.starts_with("model.")) || (branch && d.key.starts_with("optim."));
    require(
        d.may_change || free,
        "{} is {} in the run, {} was asked for: this key cannot change at resume; start a new run",
        d.key, d.before, d.after);
    notes.push_back(fmt::format("{} changes from {} to {}", d.key, d.before, d.after));
  }
  const auto rate = [](const Config& config, int64_t s) {
    return learning_rate(config.optim, s, config.train.steps);
  };
  const int64_t next = step + 1;
  if (step > 0 && next <= merged.train.steps &&
      (rate(before, next) != rate(merged, next) || before.train.steps != merged.train.steps))
    notes.push_back(fmt::format("learning rate: {:.6g} at step {}, {:.6g} at step {}",
                                rate(before, step), step, rate(merged, next), next));
  return merged;
}

int train(const TrainRequest& request) {
  return request.resume ? resume(request) : start(request);
}

void dry_run(const TrainRequest& request) {
  Config config = load_config(request.config, request.overrides);
  if (config.model.vocab_size == 0)
    config = resolve_vocabulary(config, load_tokenizer(config).vocab_size());
  for (const std::string& line : describe(config)) std::printf("%s\n", line.c_str());
}

}  // namespace midfill
