// midfill bench step
#include <functional>
#include <memory>
#include <vector>

#include "src/apps/apps.h"
#include "src/apps/bench_report.h"
#include "src/apps/validators.h"
#include "src/bench/step.h"

namespace midfill {

namespace {

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  StepBench bench;  // as the options say
  std::string json, dtype = "f32";
  bool erf = true, list = false;
  // Of the options above, those that were given, for a configuration that comes from a file.
  std::vector<std::function<void(Config&, const Config&)>> given;
};

// A file's configuration, or the built-in one, with what the options say in its place.
StepBench step_bench(const Options& options) {
  StepBench bench = options.bench;
  bench.config.model.activation = options.erf ? Activation::gelu_erf : Activation::gelu_tanh;
  bench.config.train.dtype = options.dtype == "bf16" ? DType::bf16 : DType::f32;
  if (options.config.empty()) {
    if (!options.overrides.empty())
      bench.config = parse_config(to_json(bench.config), "bench step", options.overrides);
    return bench;
  }
  const Config said = bench.config;
  bench.config = load_config(options.config, options.overrides);
  // Left to the tokenizer, which speed does not need.
  if (bench.config.model.vocab_size == 0) bench.config.model.vocab_size = said.model.vocab_size;
  for (const auto& copy : options.given) copy(bench.config, said);
  return bench;
}

int run_bench_step(const Options& options) {
  return print_bench_report(
      options.json, -1, [&] { return run_step_bench(step_bench(options), !options.list); },
      step_bench_text);
}

}  // namespace

void add_bench_step(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  StepBench& step = options->bench;
  Config& config = step.config;
  CLI::App* app = bench.add_subcommand(
      "step",
      "Times training steps of a model with random weights on random tokens: zero the gradients, "
      "forward, backward, clip, AdamW. Prints tokens/s (median; p20 to p80; best), milliseconds of "
      "each part (medians), FLOP/s and MFU by the causal and the full-attention count, memory. The "
      "model is a small one, or that of a configuration; options count before it.");
  app->add_option("--config", options->config, "Configuration of a run: model, optim, train, seed")
      ->type_name("FILE")
      ->check(not_empty());
  app->add_option("--set", options->overrides,
                  "Override a key of the configuration: section.key=value; any number of times")
      ->type_name("KEY=VALUE")
      ->take_all()
      ->expected(1);
  app->add_option("--device", step.device, "cpu or cuda")->type_name("NAME")->capture_default_str();
  // `member` finds the setting in a configuration.
  const auto setting = [&](CLI::Option* option, auto member) {
    options->given.push_back([option, member](Config& to, const Config& from) {
      if (option->count() > 0) member(to) = member(from);
    });
  };
  const auto value = [&](const std::string& name, auto member, const std::string& help) {
    CLI::Option* option = app->add_option(name, member(config), help)->capture_default_str();
    setting(option, member);
    return option;
  };
  const auto positive = [&](const std::string& name, auto member, const std::string& help) {
    value(name, member, help)->check(whole_number(1, INT32_MAX));
  };
  positive(
      "--layers", [](auto& c) -> auto& { return c.model.n_layers; }, "Blocks");
  positive(
      "--d-model", [](auto& c) -> auto& { return c.model.d_model; },
      "Width of the residual stream");
  positive(
      "--heads", [](auto& c) -> auto& { return c.model.n_heads; },
      "Attention heads; divides --d-model");
  positive(
      "--d-ff", [](auto& c) -> auto& { return c.model.d_ff; }, "Width of the MLP");
  positive(
      "--vocab", [](auto& c) -> auto& { return c.model.vocab_size; },
      "Vocabulary, where the configuration does not say");
  positive(
      "--ctx", [](auto& c) -> auto& { return c.model.n_ctx; }, "Tokens of a sample");
  positive(
      "--batch", [](auto& c) -> auto& { return c.train.micro_batch; }, "Samples of a micro-batch");
  positive(
      "--head-chunk", [](auto& c) -> auto& { return c.train.head_chunk; },
      "Rows of logits that exist at once");
  value(
      "--threads", [](auto& c) -> auto& { return c.train.threads; }, "CPU threads")
      ->check(whole_number(1, kMostThreads));
  value(
      "--rotary-pct", [](auto& c) -> auto& { return c.model.rotary_pct; },
      "Share of each head that is rotated")
      ->check(number());
  value(
      "--lr", [](auto& c) -> auto& { return c.optim.lr; }, "Learning rate")
      ->check(number());
  value(
      "--clip", [](auto& c) -> auto& { return c.optim.clip; },
      "Largest gradient norm; 0: no clipping")
      ->check(number());
  value(
      "--seed", [](auto& c) -> auto& { return c.seed; }, "Seed of weights and tokens")
      ->check(whole_number(0, UINT64_MAX));
  const auto flag = [&](const std::string& names, auto member, const std::string& help) {
    setting(app->add_flag(names, member(config), help), member);
  };
  flag(
      "--parallel-residual,!--sequential",
      [](auto& c) -> auto& { return c.model.parallel_residual; }, "Form of the block [parallel]");
  flag(
      "--tied,!--untied", [](auto& c) -> auto& { return c.model.tied_embeddings; },
      "LM head is the embedding [untied]");
  setting(
      app->add_flag("--erf,!--tanh", options->erf, "Form of GELU [erf]"),
      [](auto& c) -> auto& { return c.model.activation; });
  setting(
      app->add_option("--dtype", options->dtype,
                      "Activations and the weights that they meet: f32, or bf16 on cuda [f32]")
          ->check(CLI::IsMember({"f32", "bf16"})),
      [](auto& c) -> auto& { return c.train.dtype; });
  app->add_option("--accumulate", step.accumulate, "Micro-batches of a step")
      ->check(whole_number(1, 1 << 16))
      ->capture_default_str();
  app->add_option("--steps", step.steps, "Timed steps")
      ->check(whole_number(1, INT32_MAX))
      ->capture_default_str();
  app->add_option("--warmup", step.warmup, "Steps before the timed ones")
      ->check(whole_number(0, INT32_MAX))
      ->capture_default_str();
  add_json_option(*app, options->json, "lines");
  app->add_flag("--list", options->list, "Only say what would be measured");
  app->footer(
      "Example:\n"
      "  midfill bench step --layers 6 --d-model 384 --batch 8 --threads 2 --json\n"
      "  midfill bench step --config configs/fim-1.3b.json --device cuda --json step.json");
  app->callback([options, &run] { run = [options] { return run_bench_step(*options); }; });
}

}  // namespace midfill
