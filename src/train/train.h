// `midfill train`: a run from its configuration to its last checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/config/config.h"

namespace midfill {

struct TrainRequest {
  std::filesystem::path config;        // may be empty where `resume` is set
  std::vector<std::string> overrides;  // "section.key=value"
  std::filesystem::path run;
  bool resume = false;
  std::optional<int64_t> from;  // resume from this step's checkpoint, not from the newest
  bool accept_data = false;     // go on with other data than the run began with
  std::string device = "cpu";
};

// Starts a new run, or continues one from its newest checkpoint that verifies (from the start where
// it never had one); returns at the end of the run or, with the state saved, after a signal that
// asks for it (stop_signal.h): the process's exit status, 0 for a run that is complete. Refuses a
// directory that already holds a run or the rest of one unless told to resume, a run that another
// process writes to, and at resume data and keys whose change would make it another run.
int train(const TrainRequest& request);

// The start-up table of the configuration, without training. Reads the tokenizer where the
// configuration leaves vocab_size to it, and no data.
void dry_run(const TrainRequest& request);

// The configuration with vocab_size set from the tokenizer where it is 0. Throws Error where it is
// less than the tokenizer needs.
Config resolve_vocabulary(Config config, int tokenizer_vocab);

// The configuration of a resumed run: `run`'s own, with what `wanted` changes and may change;
// `notes` gets a line for each change, and one with the learning rate before and after where that
// is another now. A run that stands at step 0, as `midfill import` leaves it, may change everything
// but its model; a `branch`, which goes on from an earlier checkpoint than the newest, all of
// `optim`. Throws Error naming the key and both values for any other change.
Config merge_for_resume(const Config& run, const Config& wanted, int64_t step, bool branch,
                        std::vector<std::string>& notes);

}  // namespace midfill
