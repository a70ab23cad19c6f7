// midfill bench step
#include <fmt/format.h>

#include <memory>

#include "src/apps/apps.h"
#include "src/apps/validators.h"
#include "src/bench/step.h"

namespace midfill {

namespace {

struct Options {
  StepBench bench;
  bool erf = true, json = false;
};

int run_bench_step(Options options) {
  options.bench.model.activation = options.erf ? Activation::gelu_erf : Activation::gelu_tanh;
  const Json report = run_step_bench(options.bench);
  fmt::print("{}", options.json ? report.dump() + "\n" : step_bench_text(report));
  return 0;
}

}  // namespace

void add_bench_step(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  StepBench& step = options->bench;
  CLI::App* app = bench.add_subcommand(
      "step",
      "Times training steps of a model with random weights on random tokens: zero the gradients, "
      "forward, backward, clip, AdamW, all in fp32. Prints tokens/s (median; p20 to p80; best), "
      "milliseconds of each part (medians), GFLOP/s by the causal and the full-attention count.");
  ModelConfig& model = step.model;
  const auto positive = [&](const std::string& name, int& value, const std::string& help) {
    app->add_option(name, value, help)->check(whole_number(1, INT32_MAX))->capture_default_str();
  };
  positive("--layers", model.n_layers, "Blocks");
  positive("--d-model", model.d_model, "Width of the residual stream");
  positive("--heads", model.n_heads, "Attention heads; divides --d-model");
  positive("--d-ff", model.d_ff, "Width of the MLP");
  positive("--vocab", model.vocab_size, "Vocabulary");
  positive("--ctx", model.n_ctx, "Tokens of a sample");
  positive("--batch", step.batch, "Samples of a step");
  positive("--steps", step.steps, "Timed steps");
  positive("--head-chunk", step.head_chunk, "Rows of logits that exist at once");
  app->add_option("--threads", step.threads, "CPU threads")
      ->check(whole_number(1, kMaxThreads))
      ->capture_default_str();
  app->add_option("--warmup", step.warmup, "Steps before the timed ones")
      ->check(whole_number(0, INT32_MAX))
      ->capture_default_str();
  app->add_option("--rotary-pct", model.rotary_pct, "Share of each head that is rotated")
      ->capture_default_str();
  app->add_option("--lr", step.optim.lr, "Learning rate")->capture_default_str();
  app->add_option("--clip", step.optim.clip, "Largest gradient norm; 0: no clipping")
      ->capture_default_str();
  app->add_option("--seed", step.seed, "Seed of weights and tokens")
      ->check(whole_number(0, UINT64_MAX))
      ->capture_default_str();
  app->add_flag("--parallel-residual,!--sequential", model.parallel_residual,
                "Form of the block [parallel]");
  app->add_flag("--erf,!--tanh", options->erf, "Form of GELU [erf]");
  app->add_flag("--tied,!--untied", model.tied_embeddings, "LM head is the embedding [untied]");
  app->add_flag("--json", options->json, "One JSON object instead of lines");
  app->footer(
      "Example:\n  midfill bench step --layers 6 --d-model 384 --batch 8 --threads 2 --json");
  app->callback([options, &run] { run = [options] { return run_bench_step(*options); }; });
}

}  // namespace midfill
