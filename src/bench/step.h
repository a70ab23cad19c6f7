// `midfill bench step`: how fast a model trains, with random weights on random tokens.
#pragma once

#include <string>

#include "src/config/config.h"
#include "src/io/json.h"

namespace midfill {

struct StepBench {
  // Its model, optim, seed and train (micro_batch, threads, head_chunk, dtype, recompute,
  // cuda_graph) count.
  Config config;
  std::string device = "cpu";
  int accumulate = 1;  // micro-batches of a step
  int steps = 15, warmup = 3;

  // The model that docs/performance.md compares with PyTorch.
  StepBench();
};

// One object: "tokens_per_s" (medians; with _p20, _p80, _best), FLOP/s and MFU by both conventions,
// "ms_step" and the milliseconds of its parts, memory, losses; then the machine and the settings.
// On the emulation no speeds. Without `measure`, machine and settings alone. Throws Error for what
// the configuration of a run refuses.
Json run_step_bench(const StepBench& options, bool measure);

// A line for each figure.
std::string step_bench_text(const Json& report);

}  // namespace midfill
