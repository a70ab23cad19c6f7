// Checkpoints of a run: RUN/step_00001000/ with model.safetensors, optimizer shards (moments.h),
// state.json and manifest.json (manifest.h). A checkpoint is complete or invisible: it is written
// under a temporary name, every file fsynced, renamed, the parent fsynced. Whoever saves or prunes
// holds the run's RunLock. docs/checkpoints.md describes the files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
  // Windows of the spike guard, oldest first. Finite.
  std::vector<double> loss_window, norm_window;
};

// Everything is stored exactly: floats as their bits, doubles with digits that read back the same.
// A checkpoint of the same step (a damaged one that a resume passed over) is exchanged for the new
// one. Without `optimizer` the checkpoint has no moments. Model and tokenizer are described by the
// run directory's config.json and tokenizer.json, see create_run().
void save_checkpoint(const std::filesystem::path& run, const Gpt& model, const Optimizer* optimizer,
                     const TrainState& state);

// Removes temporary directories of checkpoints: as the caller holds the run's lock, their writers
// are dead.
void remove_unfinished_checkpoints(const std::filesystem::path& run);

// Removes what is neither among the newest max(1, keep_last), nor of a step that keep_every (0:
// none) divides, nor the newest that verifies; and unfinished checkpoints.
void prune_checkpoints(const std::filesystem::path& run, int keep_last, int64_t keep_every);

struct FoundCheckpoint {
  std::filesystem::path path;
  int64_t step = 0;
  // One line for each newer checkpoint that did not verify, with the reason.
  std::vector<std::string> passed_over;
};

// The newest checkpoint whose manifest verifies; nothing where the run has no checkpoint. Throws
// Error where it has some and none verifies.
std::optional<FoundCheckpoint> find_checkpoint(const std::filesystem::path& run);

// Fills weights, and moments and the count of updates where `optimizer` is given (a checkpoint
// without moments, as `import` writes, leaves them zero). Throws Error where a tensor is missing,
// extra or of another shape. `checkpoint` is one that find_checkpoint() gave: hashes are not
// checked again.
TrainState load_checkpoint(const std::filesystem::path& checkpoint, Gpt& model,
                           Optimizer* optimizer);

}  // namespace midfill
