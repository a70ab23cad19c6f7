// midfill bench: how fast this machine trains.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/common/rng.h"
#include "src/apps/apps.h"
#include "src/apps/validators.h"
#include "src/config/config.h"
#include "src/io/json.h"
#include "src/model/gpt.h"
#include "src/optim/optimizer.h"

namespace midfill {

namespace {

struct BenchStep {
  ModelConfig model{.n_ctx = 256,
                    .vocab_size = 4096,
                    .rotary_pct = 0.25,
                    .parallel_residual = true,
                    .activation = Activation::gelu_erf,
                    .init = Init::neox};
  OptimConfig optim{.lr = 3e-4};
  int batch = 8, threads = 2, steps = 15, warmup = 3;
  int head_chunk = GptOptions().head_chunk;
  uint64_t seed = 1234;
  bool erf = true, json = false;
};

// Milliseconds of one step's parts.
struct StepTime {
  double zero_grads, forward_backward, clip_adamw;
  double total() const { return zero_grads + forward_backward + clip_adamw; }
};

double milliseconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

// The value that `share` of the values do not exceed.
double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

double peak_rss_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

// What a configuration of a run refuses is refused here.
void check(const BenchStep& options) {
  Config config;
  config.model = options.model;
  config.optim = options.optim;
  config.train.batch_tokens = int64_t{options.batch} * options.model.n_ctx;
  config.train.micro_batch = options.batch;
  config.train.threads = options.threads;
  config.train.head_chunk = options.head_chunk;
  parse_config(to_json(config), "bench step");
}

Json run_bench_step(const BenchStep& options) {
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
        .zero_grads = milliseconds([&] { model.zero_grads(); }),
        .forward_backward = milliseconds(
            [&] { losses.push_back(model.forward_backward(batch, token_losses) / total_weight); }),
        .clip_adamw =
            milliseconds([&] { optimizer.enqueue_update(options.optim.lr, total_weight); })};
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

void print(const Json& result) {
  for (const auto& [key, value] : result.items())
    fmt::print("{:22} {}\n", key,
               value.is_number_float() ? fmt::format("{:.6g}", value.get<double>()) : value.dump());
}

void add_bench_step(CLI::App& bench, Run& run) {
  auto options = std::make_shared<BenchStep>();
  CLI::App* app = bench.add_subcommand(
      "step",
      "Times training steps of a model with random weights on random tokens: zero the gradients, "
      "forward, backward, clip, AdamW, all in fp32. Prints tokens/s (median; p20 to p80; best), "
      "milliseconds of each part (medians), GFLOP/s by the causal and the full-attention count.");
  ModelConfig& model = options->model;
  const auto positive = [&](const std::string& name, int& value, const std::string& help) {
    app->add_option(name, value, help)->check(whole_number(1, INT32_MAX))->capture_default_str();
  };
  positive("--layers", model.n_layers, "Blocks");
  positive("--d-model", model.d_model, "Width of the residual stream");
  positive("--heads", model.n_heads, "Attention heads; divides --d-model");
  positive("--d-ff", model.d_ff, "Width of the MLP");
  positive("--vocab", model.vocab_size, "Vocabulary");
  positive("--ctx", model.n_ctx, "Tokens of a sample");
  positive("--batch", options->batch, "Samples of a step");
  positive("--steps", options->steps, "Timed steps");
  positive("--head-chunk", options->head_chunk, "Rows of logits that exist at once");
  app->add_option("--threads", options->threads, "CPU threads")
      ->check(whole_number(1, kMaxThreads))
      ->capture_default_str();
  app->add_option("--warmup", options->warmup, "Steps before the timed ones")
      ->check(whole_number(0, INT32_MAX))
      ->capture_default_str();
  app->add_option("--rotary-pct", model.rotary_pct, "Share of each head that is rotated")
      ->capture_default_str();
  app->add_option("--lr", options->optim.lr, "Learning rate")->capture_default_str();
  app->add_option("--clip", options->optim.clip, "Largest gradient norm; 0: no clipping")
      ->capture_default_str();
  app->add_option("--seed", options->seed, "Seed of weights and tokens")
      ->check(whole_number(0, UINT64_MAX))
      ->capture_default_str();
  app->add_flag("--parallel-residual,!--sequential", model.parallel_residual,
                "Form of the block [parallel]");
  app->add_flag("--erf,!--tanh", options->erf, "Form of GELU [erf]");
  app->add_flag("--tied,!--untied", model.tied_embeddings, "LM head is the embedding [untied]");
  app->add_flag("--json", options->json, "One JSON object instead of lines");
  app->footer(
      "Example:\n  midfill bench step --layers 6 --d-model 384 --batch 8 --threads 2 --json");
  app->callback([options, &run] {
    run = [options] {
      options->model.activation = options->erf ? Activation::gelu_erf : Activation::gelu_tanh;
      const Json result = run_bench_step(*options);
      if (options->json)
        fmt::print("{}\n", result.dump());
      else
        print(result);
      return 0;
    };
  });
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  bench->footer("Example:\n  midfill bench step --threads 2");
  add_bench_step(*bench, run);
}

}  // namespace midfill
