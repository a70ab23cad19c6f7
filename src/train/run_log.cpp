#include "src/train/run_log.h"

#include <fmt/format.h>

#include <cstdio>
#include <limits>

#include "kernels/common/check.h"
#include "src/io/units.h"

namespace midfill {

RunLog::RunLog(const std::filesystem::path& run, const Config& config, int64_t step,
               double peak_tflops)
    : config_(config),
      flops_(flops_per_token(config.model)),
      peak_flops_(peak_tflops * 1e12),
      text_(run / "log.txt"),
      metrics_(run, step) {
  try {
    if (config.log.tensorboard) tensorboard_.emplace(run / "tensorboard", step);
  } catch (const std::exception& error) {
    line(fmt::format("{}; no TensorBoard events until the run is resumed", error.what()));
  }
}

void RunLog::line(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
  try {
    text_.append(text + "\n");
    text_failed_ = false;
  } catch (const Error& error) {
    // Not worth a run: the line stands above, the numbers in metrics.jsonl.
    if (!text_failed_) std::fprintf(stderr, "%s\n", error.what());
    text_failed_ = true;
  }
}

void RunLog::scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  if (!tensorboard_) return;
  try {
    tensorboard_->scalars(step, values);
  } catch (const Error& error) {
    // The file may end within a record now, and TensorBoard reads none behind it.
    tensorboard_.reset();
    line(fmt::format("{}; no more TensorBoard events until the run is resumed", error.what()));
  }
}

double RunLog::share_of_peak(double flops) const {
  return peak_flops_ > 0 ? flops / peak_flops_ : std::numeric_limits<double>::quiet_NaN();
}

void RunLog::step(const StepRecord& r) {
  const double tokens_per_s = static_cast<double>(config_.train.batch_tokens) / r.seconds;
  const double mfu = share_of_peak(tokens_per_s * flops_.causal);
  const double mfu_full = share_of_peak(tokens_per_s * flops_.full);
  const double data_wait = r.wait_seconds / r.seconds;
  Json record = {{"step", r.step},       {"tokens", r.tokens},       {"loss", r.loss},
                 {"lr", r.lr},           {"grad_norm", r.grad_norm}, {"tokens_per_s", tokens_per_s},
                 {"mfu", mfu},           {"mfu_full", mfu_full},     {"data_wait", data_wait},
                 {"dropped", r.dropped}, {"padded", r.padded},       {"skipped", r.skipped}};
  if (r.verdict != Verdict::apply) record["skip_reason"] = name_of(r.verdict);
  metrics_.write(record);
  if (tensorboard_) {
    std::vector<std::pair<std::string, double>> scalars = {
        {"train/loss", r.loss},
        {"train/lr", r.lr},
        {"train/grad_norm", r.grad_norm},
        {"train/skipped", static_cast<double>(r.skipped)},
        {"train/tokens", static_cast<double>(r.tokens)},
        {"runtime/tokens_per_s", tokens_per_s},
        {"runtime/data_wait", data_wait}};
    if (peak_flops_ > 0) scalars.emplace_back("runtime/mfu", mfu);
    this->scalars(r.step, scalars);
  }
  seconds_ += r.seconds;
  wait_seconds_ += r.wait_seconds;
  ++steps_;
  if (r.step % config_.log.every == 0 || r.step == config_.train.steps || r.step == 1) step_line(r);
}

void RunLog::step_line(const StepRecord& r) {
  const double tokens_per_s = static_cast<double>(steps_ * config_.train.batch_tokens) / seconds_;
  const double left =
      static_cast<double>(config_.train.steps - r.step) * seconds_ / static_cast<double>(steps_);
  const std::string total = fmt::format("{}", config_.train.steps);
  std::string text = fmt::format(
      "step {:>{}}/{}  loss {:.4f}  lr {:.2e}  norm {:.3f}  {}tok/s  MFU {}  wait {:.1f}%  "
      "ETA {}",
      r.step, total.size(), total, r.loss, r.lr, r.grad_norm, si_text(tokens_per_s),
      peak_flops_ > 0 ? fmt::format("{:.1f}%", 100 * share_of_peak(tokens_per_s * flops_.causal))
                      : "unknown",
      100 * wait_seconds_ / seconds_, duration_text(left));
  if (r.skipped > 0) text += fmt::format("  skipped {}", r.skipped);
  line(text);
  seconds_ = wait_seconds_ = 0.0;
  steps_ = 0;
}

void RunLog::evaluation(int64_t step, int64_t tokens, const std::vector<EvalResult>& results) {
  Json streams = Json::object();
  std::vector<std::pair<std::string, double>> scalars;
  const auto width = fmt::format("{}", config_.train.steps).size();
  const auto report = [&](const EvalLoss& loss, const std::string& tag, const std::string& shown) {
    if (loss.tokens > 0)
      scalars.emplace_back("eval/" + tag + "/nats_per_token", loss.nats_per_token);
    if (loss.bytes > 0) scalars.emplace_back("eval/" + tag + "/bits_per_byte", loss.bits_per_byte);
    line(fmt::format("eval {:>{}}  {:<12}{:>8} nats/token  {:>8} bits/byte  {} tokens", step, width,
                     shown, nats_text(loss), bits_text(loss), with_commas(loss.tokens)));
    return Json{{"nats_per_token", loss.nats_per_token},
                {"bits_per_byte", loss.bits_per_byte},
                {"tokens", loss.tokens},
                {"samples", loss.samples}};
  };
  for (const EvalResult& result : results) {
    const std::string name(name_of(result.stream));
    streams[name] = report(result, name, name);
    for (const SourceLoss& loss : result.sources)
      streams[name]["sources"][loss.source] =
          report(loss, name + "/" + loss.source, "  " + loss.source);
  }
  metrics_.write({{"step", step}, {"tokens", tokens}, {"eval", streams}});
  this->scalars(step, scalars);
}

void RunLog::sync() {
  metrics_.sync();
}

}  // namespace midfill
