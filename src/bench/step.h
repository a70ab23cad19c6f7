// `midfill bench step`: how fast a model trains, with random weights on random tokens.
#pragma once

#include "src/config/config.h"
#include "src/io/json.h"
#include "src/model/gpt.h"

namespace midfill {

struct StepBench {
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
};

// One flat object: "tokens_per_s" (medians; with _p20, _p80, _best), "ms_step" and the milliseconds
// of its parts, FLOP/s by both conventions, memory, losses. Throws Error for what the configuration
// of a run refuses.
Json run_step_bench(const StepBench& options);

// A line for each figure.
std::string step_bench_text(const Json& report);

}  // namespace midfill
