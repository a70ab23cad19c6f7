// Checkpoints of a run: RUN/step_00001000/ with model.safetensors,
// optimizer-00000-of-00001.safetensors (named slices with global offsets), state.json and
// manifest.json (size and XXH3-128 of each file, written last). A checkpoint is complete or
// invisible: it is written under a temporary name, every file fsynced, renamed, the parent fsynced.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/io/json.h"
#include "src/model/gpt.h"
#include "src/optim/optimizer.h"

namespace midfill {

// Where a run stands, beside weights and moments.
struct TrainState {
  int64_t step = 0;     // steps done, skipped ones included
  int64_t tokens = 0;   // tokens seen
  int64_t updates = 0;  // optimiser updates applied
  int64_t skipped = 0;  // updates skipped
  int64_t skipped_in_row = 0;
  // Windows of the spike guard, oldest first.
  std::vector<double> loss_window, norm_window;
};

// The model as the checkpoint's config.json describes it; `config` and the tokenizer are stored in
// the run directory once, by create_run().
void save_checkpoint(const std::filesystem::path& run, const Gpt& model, const Optimizer* optimizer,
                     const TrainState& state);

// Removes what neither keep_last nor keep_every protects, and left-over temporary directories of
// dead writers.
void prune_checkpoints(const std::filesystem::path& run, int keep_last, int64_t keep_every);

struct FoundCheckpoint {
  std::filesystem::path path;
  int64_t step = 0;
  std::vector<std::string>
      passed_over;  // one line for each newer checkpoint that did not verify, with the reason
};

// The newest checkpoint whose manifest verifies.
std::optional<FoundCheckpoint> find_checkpoint(const std::filesystem::path& run);

// Fills weights, and moments where `optimizer` is given (a checkpoint without moments, as `import`
// writes, leaves them zero). Throws Error where a tensor is missing, extra or of another shape.
TrainState load_checkpoint(const std::filesystem::path& checkpoint, Gpt& model,
                           Optimizer* optimizer);

}  // namespace midfill
