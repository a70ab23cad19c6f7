// Checkpoints of a run: RUN/step_00001000/ with model.safetensors, optimizer shards (moments.h),
// state.json and manifest.json (manifest.h). A checkpoint is complete or invisible: it is written
// under a temporary name, every file fsynced, renamed, the parent fsynced. Whoever saves or prunes
// holds the run's RunLock. docs/checkpoints.md describes the files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
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
// one. Without `optimizer` the checkpoint has no moments. Throws Error, and leaves nothing, where
// the disk refuses or a weight or moment is not finite. Model and tokenizer are described by the
// run directory's config.json and tokenizer.json, see create_run().
void save_checkpoint(const std::filesystem::path& run, const Gpt& model, const Optimizer* optimizer,
                     const TrainState& state);

// Removes temporary directories of checkpoints: as the caller holds the run's lock, their writers
// are dead. A line for each that could not be removed.
std::vector<std::string> remove_unfinished_checkpoints(const std::filesystem::path& run);

// Decides which checkpoints of a run stay. To be kept by whoever saves, since each is read whole
// once, to see whether it verifies.
class CheckpointKeeper {
 public:
  CheckpointKeeper(int keep_last, int64_t keep_every)
      : keep_last_(keep_last), keep_every_(keep_every) {}

  // After save_checkpoint(): it need not be read again.
  void saved(const TrainState& state);

  // Removes unfinished checkpoints, and those that are neither among the newest max(1, keep_last)
  // that verify, nor of a step that keep_every (0: none) divides, nor the newest that verifies and
  // whose last update was applied, nor damaged and newer than all that verify. What cannot be
  // removed stays, with a line the first time, and is tried again by the next call.
  std::vector<std::string> prune(const std::filesystem::path& run);

 private:
  struct Found {
    bool whole = false, applied = false;
  };
  Found look_at(const std::filesystem::path& checkpoint, int64_t step);
  std::vector<std::filesystem::path> superfluous(const std::filesystem::path& run);

  int keep_last_;
  int64_t keep_every_;
  std::map<int64_t, Found> known_;
  std::set<std::string> told_;
};

struct FoundCheckpoint {
  std::filesystem::path path;
  int64_t step = 0;
  // One line for each newer checkpoint that did not verify, with the reason.
  std::vector<std::string> passed_over;
};

// The newest checkpoint whose manifest verifies; nothing where the run has no checkpoint. Throws
// Error where it has some and none verifies. Another process may save and prune meanwhile.
std::optional<FoundCheckpoint> find_checkpoint(const std::filesystem::path& run);
// The one of this step. Throws Error, naming those that are there, where there is none or it does
// not verify.
FoundCheckpoint find_checkpoint(const std::filesystem::path& run, int64_t step);
// The newest that verifies and whose last update was applied.
std::optional<FoundCheckpoint> find_applied_checkpoint(const std::filesystem::path& run);
// Of the newest checkpoint, whether it verifies or not.
std::optional<int64_t> newest_step(const std::filesystem::path& run);

// Moves every checkpoint of a later step to RUN/aside, the oldest first, so that a process which
// dies on the way leaves a run that goes on as before. Gives their names there.
std::vector<std::filesystem::path> set_aside_after(const std::filesystem::path& run, int64_t step);

// Fills weights, and moments and the count of updates where `optimizer` is given (a checkpoint
// without moments, as `import` writes, leaves them zero). Throws Error where a tensor is missing,
// extra or of another shape. `checkpoint` is one that find_checkpoint() gave: hashes are not
// checked again.
TrainState load_checkpoint(const std::filesystem::path& checkpoint, Gpt& model,
                           Optimizer* optimizer);

}  // namespace midfill
