// midfill bench: how fast this machine trains.
#include "src/apps/apps.h"

namespace midfill {

void add_bench(CLI::App& app, Run& run) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  bench->footer(
      "Example:\n  midfill bench kernels layernorm gelu\n  midfill bench step --threads 2");
  add_bench_kernels(*bench, run);
  add_bench_step(*bench, run);
}

}  // namespace midfill
