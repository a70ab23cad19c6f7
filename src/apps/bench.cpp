// midfill bench: how fast this machine trains and makes training data.
#include "src/apps/apps.h"

namespace midfill {

void add_bench(CLI::App& app, Run& run) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  bench->footer(
      "Example:\n  midfill bench kernels layernorm gelu\n  midfill bench step --threads 2\n"
      "  midfill bench loader --config configs/quickstart.json");
  add_bench_kernels(*bench, run);
  add_bench_loader(*bench, run);
  add_bench_step(*bench, run);
  add_bench_tokenizer(*bench, run);
}

}  // namespace midfill
