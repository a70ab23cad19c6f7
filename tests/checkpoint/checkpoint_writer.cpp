// A process for checkpoint_kill_test: writes checkpoints into a run, one after the other, until it
// is killed or has written `count`. Weights and moments of step s are a function of s.
//   checkpoint_writer RUN COUNT
#include <cstdio>
#include <cstdlib>

#include "src/checkpoint/run_directory.h"
#include "tests/checkpoint/tiny_model.h"

int main(int argc, char** argv) {
  using namespace midfill;
  if (argc != 3) return 2;
  try {
    const std::filesystem::path run = argv[1];
    const RunHold hold(run);
    test::TinyModel tiny;
    TrainState state;
    CheckpointKeeper keeper(2, 0);
    if (const auto found = find_checkpoint(run)) {
      if (!found->passed_over.empty()) fail("{}", found->passed_over.front());
      state = load_checkpoint(found->path, tiny.model, &tiny.optimizer);
    }
    for (long n = std::strtol(argv[2], nullptr, 10); n > 0; --n) {
      ++state.step;
      ++state.updates;
      tiny.fill(static_cast<uint64_t>(state.step));
      save_checkpoint(run, tiny.model, &tiny.optimizer, state);
      keeper.saved(state);
      keeper.prune(run);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "checkpoint_writer: %s\n", error.what());
    return 1;
  }
}
