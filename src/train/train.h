// `midfill train`: a run from its configuration to its last checkpoint.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/config/config.h"

namespace midfill {

struct TrainRequest {
  std::filesystem::path config;        // may be empty where `resume` is set
  std::vector<std::string> overrides;  // "section.key=value"
  std::filesystem::path run;
  bool resume = false;
  std::string device = "cpu";
};

// Starts a new run, or continues one from its newest checkpoint that verifies (from the start where
// it has none yet); returns at the end of the run or, with the state saved, after SIGINT or
// SIGTERM. Refuses a directory that already holds a run unless told to resume, a run that another
// process writes to, and at resume keys whose change would make it another run.
void train(const TrainRequest& request);

// The start-up table of the configuration, without training. Reads the tokenizer where the
// configuration leaves vocab_size to it, and no data.
void dry_run(const TrainRequest& request);

// The configuration with vocab_size set from the tokenizer where it is 0. Throws Error where it is
// less than the tokenizer needs.
Config resolve_vocabulary(Config config, int tokenizer_vocab);

// The configuration of a resumed run: `run`'s own, with what `wanted` changes and may change;
// `notes` gets a line for each change. A run that stands at step 0, as `midfill import` leaves it,
// may change everything but its model. Throws Error naming the key and both values for any other
// change.
Config merge_for_resume(const Config& run, const Config& wanted, int64_t step,
                        std::vector<std::string>& notes);

}  // namespace midfill
