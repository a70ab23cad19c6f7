#include "src/train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/common/check.h"
#include "src/model/parameters.h"
#include "src/train/report.h"

namespace midfill {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::unique_ptr<SampleStream> open_stream(const Config& config, const Tokenizer& tokenizer) {
  require(!config.data.train.empty(),
          "data.train is empty, expected the prefix of a dataset (.bin and .idx)");
  return training_stream(config, tokenizer,
                         std::make_shared<const IndexedDataset>(
                             IndexedDataset::open(config.data.train, config.model.vocab_size)));
}

}  // namespace

Trainer::Trainer(const Config& config, const Tokenizer& tokenizer, Device& device)
    : config_(config),
      device_(&device),
      stream_(open_stream(config, tokenizer)),
      model_(config.model, training_options(config), device),
      optimizer_(config.optim, model_),
      guard_(config.train) {
  if (!config.data.valid.empty()) evaluator_.emplace(config, tokenizer, streams_for(config.fim));
  initialize(model_, config.seed);
  losses_.resize(static_cast<size_t>(training_options(config).max_batch) * config.model.n_ctx);
}

void Trainer::restore(const std::filesystem::path& checkpoint) {
  state_ = load_checkpoint(checkpoint, model_, &optimizer_);
  guard_.restore(state_.loss_window, state_.norm_window);
  saved_step_ = state_.step;
}

bool Trainer::run(const std::filesystem::path& directory, RunLog& log, const StopSignal& stop) {
  // A run that ended between a step and its evaluation does the evaluation now.
  if (state_.step > 0 && due(config_.eval.every) && !log.has_evaluation(state_.step)) evaluate(log);
  try {
    Loader loader(*stream_, samples_per_step(config_), state_.step);
    while (state_.step < config_.train.steps && !stop.requested()) {
      step(loader, log);
      if (stop.requested()) break;
      if (due(config_.eval.every)) evaluate(log);
      if (due(config_.checkpoint.every)) save(directory, log);
    }
  } catch (const Error&) {
    save(directory, log);  // what was good is not lost
    throw;
  }
  save(directory, log);
  if (state_.step == config_.train.steps) return true;
  log.line(
      fmt::format("stopped by {} after step {}; continue with --resume", stop.name(), state_.step));
  return false;
}

StepRecord Trainer::step(Loader& loader, RunLog& log) {
  const auto start = Clock::now();
  StepRecord record;
  record.step = state_.step + 1;
  record.lr = learning_rate(config_.optim, record.step, config_.train.steps);

  const SampleBatch& batch = loader.next();
  record.wait_seconds = seconds_since(start);

  record.loss = forward_backward(batch) / batch.total_weight;
  record.grad_norm = optimizer_.grad_norm(batch.total_weight);
  record.verdict = guard_.judge(record.loss, record.grad_norm);

  if (record.verdict == Verdict::nonfinite && config_.train.on_nonfinite == OnNonFinite::stop) {
    report_skip(record, batch, log);
    fail("step {}: loss or gradient norm is not finite and train.on_nonfinite is \"stop\"",
         record.step);
  }
  if (record.verdict == Verdict::apply) {
    optimizer_.update(record.lr, record.grad_norm, batch.total_weight);
    guard_.accept(record.loss, record.grad_norm);
    state_.skipped_in_row = 0;
  } else {
    ++state_.skipped;
    ++state_.skipped_in_row;
    report_skip(record, batch, log);
  }

  state_.step = record.step;
  state_.tokens += config_.train.batch_tokens;
  state_.updates = optimizer_.updates();
  record.tokens = state_.tokens;
  record.skipped = state_.skipped;
  record.dropped = batch.stats.dropped;
  record.padded = batch.stats.padded;
  record.seconds = seconds_since(start);
  log.step(record);
  require(state_.skipped_in_row < config_.train.max_skips,
          "step {}: {} updates in a row were skipped (train.max_skips)", record.step,
          state_.skipped_in_row);
  return record;
}

// Sums gradients over the step's micro-batches; gives the sum of weight * loss.
double Trainer::forward_backward(const SampleBatch& batch) {
  model_.zero_grads();
  bad_samples_.clear();
  double sum = 0.0;
  const int64_t at_once = training_options(config_).max_batch;
  for (int64_t row = 0; row < batch.rows; row += at_once) {
    const int64_t rows = std::min(at_once, batch.rows - row);
    const std::span losses(losses_.data(), static_cast<size_t>(rows * batch.n_ctx));
    const double part = model_.forward_backward(rows_of(batch, row, rows), losses);
    sum += part;
    if (std::isfinite(part)) continue;
    for (int64_t r = 0; r < rows; ++r) {
      const auto of_row =
          losses.subspan(static_cast<size_t>(r * batch.n_ctx), static_cast<size_t>(batch.n_ctx));
      if (!std::all_of(of_row.begin(), of_row.end(), [](float x) { return std::isfinite(x); }))
        bad_samples_.push_back(batch.first_sample + row + r);
    }
  }
  return sum;
}

void Trainer::report_skip(const StepRecord& r, const SampleBatch& batch, RunLog& log) const {
  std::string why;
  if (r.verdict == Verdict::spike)
    why = fmt::format(" ({:.1f} and {:.1f} standard deviations above the last {} updates)",
                      guard_.loss_zscore(r.loss), guard_.norm_zscore(r.grad_norm),
                      config_.train.spike_window);
  if (!bad_samples_.empty())
    why = fmt::format(
        ", not finite in sample{} {}{}", bad_samples_.size() > 1 ? "s" : "",
        fmt::join(bad_samples_.begin(),
                  bad_samples_.begin() + std::min<int64_t>(8, std::ssize(bad_samples_)), ", "),
        bad_samples_.size() > 8 ? ", ..." : "");
  log.line(fmt::format(
      "step {}: loss {:.6g}, gradient norm {:.6g}{}; samples {}..{}; update not applied", r.step,
      r.loss, r.grad_norm, why, batch.first_sample, batch.first_sample + batch.rows - 1));
}

bool Trainer::due(int64_t every) const {
  return state_.step == config_.train.steps || (every > 0 && state_.step % every == 0);
}

void Trainer::evaluate(RunLog& log) {
  if (!evaluator_) return;
  log.evaluation(
      state_.step, state_.tokens,
      evaluator_->run(model_, config_.eval.samples, training_options(config_).max_batch));
}

void Trainer::save(const std::filesystem::path& directory, RunLog& log) {
  if (state_.step == saved_step_) return;
  const auto start = Clock::now();
  log.sync();
  state_.loss_window = guard_.loss_window();
  state_.norm_window = guard_.norm_window();
  save_checkpoint(directory, model_, &optimizer_, state_);
  prune_checkpoints(directory, config_.checkpoint.keep_last, config_.checkpoint.keep_every);
  saved_step_ = state_.step;
  log.line(fmt::format("checkpoint after step {} saved in {} ({:.1f}s)", state_.step,
                       directory.string(), seconds_since(start)));
}

}  // namespace midfill
