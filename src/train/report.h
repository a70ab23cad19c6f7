// What a run is going to be, in words and numbers: printed at start-up and by `train --dry-run`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/config/config.h"
#include "src/data/sample_stream.h"
#include "src/model/gpt.h"

namespace midfill {

// Samples of a step, and of its micro-batches (the last may be smaller).
int64_t samples_per_step(const Config& config);
GptOptions training_options(const Config& config);

// Of host memory, for batches on their way from the loader through a step.
int64_t batch_bytes(const Config& config);

// Lines of the start-up table: model, parameters, memory by purpose, FLOPs per token in both
// conventions, batch, steps, tokens. `config.model.vocab_size` is set. Allocates nothing.
std::vector<std::string> describe(const Config& config);

// Lines of what is read: of each source its tokens, share of the samples and epochs over the whole
// run, and a warning where no document in it seems to end; threads, steps and host memory of the
// loader.
std::vector<std::string> describe(const std::vector<SourceInfo>& sources, const Config& config);

}  // namespace midfill
