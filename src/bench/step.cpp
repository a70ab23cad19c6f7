#include "src/bench/step.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <functional>
#include <vector>

#include "kernels/common/rng.h"
#include "src/bench/timing.h"
#include "src/optim/optimizer.h"

namespace midfill {

namespace {

// Milliseconds of one step's parts.
struct StepTime {
  double zero_grads, forward_backward, clip_adamw;
  double total() const { return zero_grads + forward_backward + clip_adamw; }
};

double peak_rss_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

// What a configuration of a run refuses is refused here.
void check(const StepBench& options) {
  Config config;
  config.model = options.model;
  config.optim = options.optim;
  config.train.batch_tokens = int64_t{options.batch} * options.model.n_ctx;
  config.train.micro_batch = options.batch;
  config.train.threads = options.threads;
  config.train.head_chunk = options.head_chunk;
  parse_config(to_json(config), "bench step");
}

}  // namespace

Json run_step_bench(const StepBench& options) {
  check(options);
  Device device("cpu", options.threads);
  Gpt model(options.model, {.max_batch = options.batch, .head_chunk = options.head_chunk}, device);
  initialize(model, options.seed);
  Optimizer optimizer(options.optim, model);

  const int64_t B = options.batch, T = options.model.n_ctx, N = B * T;
  std::vector<int32_t> tokens(B * (T + 1)), ids(N), targets(N);
  std::vector<float> weights(N, 1.0f), token_losses(N);
  const Batch batch{.ids = Tensor::of(ids.data(), {B, T}),
                    .targets = Tensor::of(targets.data(), {B, T}),
                    .weights = Tensor::of(weights.data(), {B, T})};
  const auto total_weight = static_cast<double>(N);

  std::vector<StepTime> times;
  std::vector<double> losses;
  for (int step = 0; step < options.warmup + options.steps; ++step) {
    Rng rng(options.seed, Purpose::kBench, 0, step);
    for (auto& token : tokens) token = static_cast<int32_t>(rng.below(options.model.vocab_size));
    for (int64_t n = 0; n < N; ++n) {
      ids[n] = tokens[n / T * (T + 1) + n % T];
      targets[n] = tokens[n / T * (T + 1) + n % T + 1];
    }
    const StepTime time{
        .zero_grads = milliseconds(device, [&] { model.zero_grads(); }),
        .forward_backward = milliseconds(
            device,
            [&] { losses.push_back(model.forward_backward(batch, token_losses) / total_weight); }),
        .clip_adamw = milliseconds(
            device, [&] { optimizer.enqueue_update(options.optim.lr, total_weight); })};
    if (step >= options.warmup) times.push_back(time);
  }

  const auto at = [&](double share, auto part) {
    std::vector<double> values;
    for (const StepTime& time : times) values.push_back(std::invoke(part, time));
    return percentile(values, share);
  };
  const auto tokens_per_s = [&](double share) {
    return 1e3 * total_weight / at(share, &StepTime::total);
  };
  const FlopsPerToken flops = flops_per_token(options.model);
  return {{"tokens_per_s", tokens_per_s(0.5)},
          {"tokens_per_s_p20", tokens_per_s(0.8)},
          {"tokens_per_s_p80", tokens_per_s(0.2)},
          {"tokens_per_s_best", tokens_per_s(0.0)},
          {"gflops_causal", tokens_per_s(0.5) * flops.causal * 1e-9},
          {"gflops_full", tokens_per_s(0.5) * flops.full * 1e-9},
          {"ms_step", at(0.5, &StepTime::total)},
          {"ms_zero_grads", at(0.5, &StepTime::zero_grads)},
          {"ms_forward_backward", at(0.5, &StepTime::forward_backward)},
          {"ms_clip_adamw", at(0.5, &StepTime::clip_adamw)},
          {"parameters", model.table().count()},
          {"threads", device.cpu().threads()},
          {"peak_rss_mib", peak_rss_mib()},
          {"loss_first", losses.front()},
          {"loss_last", losses.back()}};
}

std::string step_bench_text(const Json& report) {
  std::string text;
  for (const auto& [key, value] : report.items())
    text += fmt::format(
        "{:22} {}\n", key,
        value.is_number_float() ? fmt::format("{:.6g}", value.get<double>()) : value.dump());
  return text;
}

}  // namespace midfill
