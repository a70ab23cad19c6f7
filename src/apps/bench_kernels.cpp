// midfill bench kernels
#include <fmt/format.h>

#include <memory>

#include "src/apps/apps.h"
#include "src/apps/bench_report.h"
#include "src/apps/validators.h"
#include "src/bench/kernels.h"

namespace midfill {

namespace {

struct Options {
  KernelBench bench;
  std::string json;
  bool list = false;
};

int run_bench_kernels(const Options& options) {
  return print_bench_report(
      options.json, 1, [&] { return run_kernel_bench(options.bench, !options.list); },
      kernel_bench_text);
}

}  // namespace

void add_bench_kernels(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  KernelBench& kernels = options->bench;
  CLI::App* app = bench.add_subcommand(
      "kernels",
      "Times every op, forward and backward, in the shapes of one model: FIM-1.3B with 8 x 2048 "
      "tokens on a GPU, a small model on the CPU. Prints median milliseconds (p20 to p80), TFLOP/s "
      "and GB/s by the op's contract, their share of the data sheet and of a copy or a matrix "
      "product measured in the same run, and for linear layers how they compare with the library's "
      "product alone. On a GPU the level-2 cache is flushed before each run.");
  std::string ops;
  for (std::string_view name : kernel_ops())
    ops += fmt::format("{}{}", ops.empty() ? "" : ", ", name);
  app->add_option("OP", kernels.ops, "Of these, all without any: " + ops);
  app->add_option("--device", kernels.device, "cpu or cuda")
      ->type_name("NAME")
      ->capture_default_str();
  app->add_option("--dtype", kernels.dtype,
                  "Activations and weights: f32 or bf16 [bf16 on cuda, f32 on cpu]")
      ->type_name("NAME")
      ->check(not_empty());
  app->add_option("--shape", kernels.sizes,
                  "A size other than the default, of B T C NH R F V chunk n: samples, tokens of a "
                  "sample, width, heads, rotated dims of a head, MLP, vocabulary, rows of logits "
                  "at once, parameters; any number of times")
      ->type_name("KEY=SIZE")
      ->take_all()
      ->expected(1);
  app->add_option("--repeat", kernels.rule.min_runs,
                  "Runs of each op at least; as many more as fill 100 ms")
      ->check(whole_number(1, 1000000))
      ->capture_default_str();
  app->add_option("--threads", kernels.threads, "CPU threads, 0 for all")
      ->check(whole_number(0, kMostThreads))
      ->capture_default_str();
  app->add_option(
         "--json", options->json,
         "Also write the figures to this file; - for standard output in place of the table")
      ->type_name("FILE")
      ->check(not_empty());
  app->add_flag("--list", options->list, "Only list what would be measured");
  app->footer(
      "Example:\n"
      "  midfill bench kernels --device cpu --threads 2\n"
      "  midfill bench kernels linear attention --device cuda --dtype bf16 --json kernels.json\n"
      "  midfill bench kernels gelu --shape F=4096 --shape T=512");
  app->callback([options, &run] { run = [options] { return run_bench_kernels(*options); }; });
}

}  // namespace midfill
