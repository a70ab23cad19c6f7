#include "src/train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "kernels/common/check.h"
#include "src/model/parameters.h"
#include "src/train/report.h"

namespace midfill {

std::string advice_after_skips(const std::filesystem::path& run) {
  const auto good = find_applied_checkpoint(run);
  if (!good) return "no checkpoint is from before the skips";
  return fmt::format(
      "the newest checkpoint from before the skips is {}: --resume --from {} goes on there, also "
      "with another optim.lr or optim.clip",
      good->path.string(), good->step);
}

Trainer::Trainer(const Config& config, const Tokenizer& tokenizer, Device& device)
    : config_(config),
      device_(&device),
      stream_(open_training_stream(config, tokenizer)),
      model_(config.model, training_options(config), device),
      optimizer_(config.optim, model_),
      guard_(config.train),
      device_judges_(config.train.on_nonfinite == OnNonFinite::skip &&
                     config.train.spike_zscore == 0),
      late_records_(device_judges_ && device.is_cuda()),
      keeper_(config.checkpoint.keep_last, config.checkpoint.keep_every) {
  if (!config.data.valid.empty()) evaluator_.emplace(config, tokenizer, streams_for(config.fim));
  initialize(model_, config.seed);
  for (int i = 0; i < (late_records_ ? 2 : 1); ++i)
    slots_.emplace_back(samples_per_step(config), config.model.n_ctx, device);
}

void Trainer::restore(const std::filesystem::path& checkpoint) {
  state_ = load_checkpoint(checkpoint, model_, &optimizer_);
  guard_.restore(state_.loss_window, state_.norm_window);
  saved_step_ = state_.step;
}

void Trainer::prepare() {
  loader_.emplace(*stream_, samples_per_step(config_), state_.step, config_.data.threads,
                  config_.data.ahead);
}

bool Trainer::run(const RunHold& hold, RunFacts& facts, RunLog& log, const StopSignal& stop) {
  if (!loader_) prepare();
  // A run that ended between a step and its evaluation does the evaluation now.
  evaluated_step_ = state_.step == 0 || log.has_evaluation(state_.step) ? state_.step : -1;
  try {
    run_steps(hold, facts, log, stop);
    save(hold, facts, log);
    hold.require_in_place();
  } catch (const Error& error) {
    // What was good is not lost.
    try {
      save(hold, facts, log);
    } catch (const Error& again) {
      if (std::string_view(again.what()) == error.what()) throw;
      fail("{}; what came after step {} could not be saved: {}", error.what(), saved_step_,
           again.what());
    }
    if (state_.skipped_in_row == 0) throw;
    fail("{}; {}", error.what(), advice_after_skips(hold.place()));
  }
  if (state_.step == config_.train.steps && evaluated()) return true;
  log.line(
      fmt::format("stopped by {} after step {}; continue with --resume", stop.name(), state_.step));
  return false;
}

void Trainer::run_steps(const RunHold& hold, RunFacts& facts, RunLog& log, const StopSignal& stop) {
  while (true) {
    if (due(config_.eval.every) && !evaluated() && !stop.requested()) evaluate(log, stop);
    if (due(config_.checkpoint.every) || stop.take_save_request()) save(hold, facts, log);
    if (last_enqueued() == config_.train.steps || stop.requested() || !hold.in_place()) return;
    step(*loader_, log, &stop);
  }
}

std::optional<StepRecord> Trainer::step(Loader& loader, RunLog& log, const StopSignal* stop) {
  const int64_t number = last_enqueued() + 1;
  PendingStep& step = slot_of(number);
  // A step of minutes would outlast what a cluster grants; the resumed run does it again.
  const auto give_up = [stop] { return stop && stop->pressing(); };
  if (!step.begin(number, learning_rate(config_.optim, number, config_.train.steps), loader,
                  give_up) ||
      !enqueue_gradients(step, give_up))
    return std::nullopt;
  if (device_judges_)
    optimizer_.enqueue_update(step.record.lr, step.total_weight());
  else
    optimizer_.enqueue_norm();  // the update follows in finish_step()
  step.enqueue_report(optimizer_);
  ++under_way_;

  const bool wait = !late_records_ || number == config_.train.steps;
  std::optional<StepRecord> record;
  while (under_way_ > (wait ? 0 : 1)) record = finish_step(log);
  require(state_.skipped_in_row < config_.train.max_skips,
          "step {}: {} updates in a row were skipped (train.max_skips)", state_.step,
          state_.skipped_in_row);
  return record;
}

// Sums gradients over the step's micro-batches. False where `give_up`, which is asked between two
// of them, ended that.
bool Trainer::enqueue_gradients(PendingStep& step, const std::function<bool()>& give_up) {
  model_.zero_grads();
  const int64_t at_once = training_options(config_).max_batch;
  for (int64_t row = 0; row < step.rows(); row += at_once) {
    // On cuda handing over the work takes no time to speak of.
    if (!device_->is_cuda() && give_up()) return false;
    const Batch part = step.batch(row, std::min(row + at_once, step.rows()));
    model_.enqueue_forward_backward(part, step.losses(row));
  }
  return true;
}

// Waits for the oldest step under way and makes it part of the run.
StepRecord Trainer::finish_step(RunLog& log) {
  PendingStep& step = slot_of(state_.step + 1);
  --under_way_;
  step.wait();
  StepRecord& record = step.record;
  record.loss = step.loss_sum(training_options(config_).max_batch) / step.total_weight();
  record.grad_norm = step.grad_norm();
  record.verdict = judge(step);

  if (record.verdict == Verdict::nonfinite && config_.train.on_nonfinite == OnNonFinite::stop) {
    report_skip(step, log);
    fail("step {}: loss or gradient norm is not finite and train.on_nonfinite is \"stop\"",
         record.step);
  }
  if (record.verdict == Verdict::apply) {
    if (!device_judges_) {
      optimizer_.enqueue_adamw(record.lr, step.total_weight());
      step.enqueue_end();
      step.wait();
    }
    guard_.accept(record.loss, record.grad_norm);
    ++state_.updates;
    state_.skipped_in_row = 0;
  } else {
    ++state_.skipped;
    ++state_.skipped_in_row;
    report_skip(step, log);
  }

  state_.step = record.step;
  state_.tokens += config_.train.batch_tokens;
  record.tokens = state_.tokens;
  record.skipped = state_.skipped;
  record.seconds = step.seconds();
  record.wait_seconds = step.wait_seconds();
  log.step(record);
  return record;
}

Verdict Trainer::judge(const PendingStep& step) const {
  if (!device_judges_) return guard_.judge(step.record.loss, step.record.grad_norm);
  return step.updates() > state_.updates ? Verdict::apply : Verdict::nonfinite;
}

void Trainer::drain(RunLog& log) {
  while (under_way_ > 0) finish_step(log);
}

void Trainer::report_skip(const PendingStep& step, RunLog& log) const {
  const StepRecord& r = step.record;
  const std::vector<int64_t> bad_samples = step.nonfinite_samples();
  std::string why;
  if (r.verdict == Verdict::spike)
    why = fmt::format(" ({:.1f} and {:.1f} standard deviations above the last {} updates)",
                      guard_.loss_zscore(r.loss), guard_.norm_zscore(r.grad_norm),
                      config_.train.spike_window);
  if (!bad_samples.empty())
    why = fmt::format(
        ", not finite in sample{} {}{}", bad_samples.size() > 1 ? "s" : "",
        fmt::join(bad_samples.begin(),
                  bad_samples.begin() + std::min<int64_t>(8, std::ssize(bad_samples)), ", "),
        bad_samples.size() > 8 ? ", ..." : "");
  log.line(fmt::format(
      "step {}: loss {:.6g}, gradient norm {:.6g}{}; samples {}..{}; update not applied", r.step,
      r.loss, r.grad_norm, why, step.first_sample(), step.first_sample() + step.rows() - 1));
}

bool Trainer::due(int64_t every) const {
  const int64_t step = last_enqueued();
  return step > 0 && (step == config_.train.steps || (every > 0 && step % every == 0));
}

// A signal ends it, and the resumed run makes up for it.
void Trainer::evaluate(RunLog& log, const StopSignal& stop) {
  drain(log);
  const auto results =
      evaluator_->run(model_, config_.eval.samples, training_options(config_).max_batch,
                      [&] { return stop.requested(); });
  if (results.empty()) return;
  log.evaluation(state_.step, state_.tokens, results);
  evaluated_step_ = state_.step;
}

void Trainer::save(const RunHold& hold, RunFacts& facts, RunLog& log) {
  drain(log);
  if (state_.step == saved_step_) return;
  const auto start = std::chrono::steady_clock::now();
  const std::filesystem::path directory = hold.place();
  log.sync();
  state_.loss_window = guard_.loss_window();
  state_.norm_window = guard_.norm_window();
  save_checkpoint(directory, model_, &optimizer_, state_);
  saved_step_ = state_.step;
  keeper_.saved(state_);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log.line(fmt::format("checkpoint after step {} saved in {} ({:.1f}s)", state_.step,
                       directory.string(), seconds.count()));
  // The checkpoint is there: nothing below is worth the run.
  try {
    facts.saved = state_.step;
    write_run_facts(directory, facts);
  } catch (const Error& error) {
    log.line(error.what());
  }
  for (const std::string& failure : keeper_.prune(directory))
    log.line(fmt::format("{}; tried again at the next checkpoint", failure));
}

}  // namespace midfill
