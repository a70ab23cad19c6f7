// The training loop. Nothing in it waits for the device but finish_step(): a step is enqueued whole
// and its numbers are read when they are there. docs/training.md describes it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/run_directory.h"
#include "src/checkpoint/run_facts.h"
#include "src/config/config.h"
#include "src/data/loader.h"
#include "src/data/sample_stream.h"
#include "src/eval/evaluate.h"
#include "src/model/gpt.h"
#include "src/optim/optimizer.h"
#include "src/tokenizer/tokenizer.h"
#include "src/train/pending_step.h"
#include "src/train/run_log.h"
#include "src/train/spike_guard.h"
#include "src/train/stop_signal.h"

namespace midfill {

// Where a run whose updates are skipped one after the other can go on, in words.
std::string advice_after_skips(const std::filesystem::path& run);

class Trainer {
 public:
  // A run at step 0: opens the datasets, makes the model with initial weights. Writes nothing.
  // `config.model.vocab_size` is set; tokenizer and device must outlive the trainer.
  Trainer(const Config& config, const Tokenizer& tokenizer, Device& device);

  // Continues from a checkpoint that find_checkpoint() gave.
  void restore(const std::filesystem::path& checkpoint);

  // Starts the loader, from the step that the trainer stands at. With this all that a run needs is
  // allocated: to be called before anything appears on disk.
  void prepare();

  // Steps, evaluations and checkpoints until the last step or a signal; the state is saved before
  // it returns. True where the run is complete. Where the directory is moved meanwhile, the state
  // is saved where it is now, and that is an Error, as any other is after the state was saved.
  // `facts` are the run's, kept in step with its checkpoints.
  bool run(const RunHold& hold, RunFacts& facts, RunLog& log, const StopSignal& stop);

  // Enqueues one step on the loader's next batch and returns the record of the newest step that is
  // complete: this one; or, where records are late, the one before, and nothing at the first step.
  // Where `stop` presses, a step that still waits for its data is given up, on the CPU also one
  // between two of its micro-batches: then nothing has changed. Throws Error, with weights, moments
  // and state as before the step, where the update is not finite and the configuration says stop;
  // and where the last max_skips updates whose records are there were skipped.
  std::optional<StepRecord> step(Loader& loader, RunLog& log, const StopSignal* stop = nullptr);

  // Waits for the steps that are under way and logs them: then weights, moments and state are those
  // after the same step. Evaluations and checkpoints begin with this.
  void drain(RunLog& log);

  // Of the last step whose record is there.
  const TrainState& state() const { return state_; }
  Gpt& model() { return model_; }
  const Optimizer& optimizer() const { return optimizer_; }
  const BlendedStream& stream() const { return *stream_; }
  // Nothing where data.valid is empty.
  const Evaluator* evaluator() const { return evaluator_ ? &*evaluator_ : nullptr; }

 private:
  void run_steps(const RunHold& hold, RunFacts& facts, RunLog& log, const StopSignal& stop);
  bool enqueue_gradients(PendingStep& step, const std::function<bool()>& give_up);
  StepRecord finish_step(RunLog& log);
  Verdict judge(const PendingStep& step) const;
  void report_skip(const PendingStep& step, RunLog& log) const;
  PendingStep& slot_of(int64_t step) { return slots_[static_cast<size_t>(step) % slots_.size()]; }
  int64_t last_enqueued() const { return state_.step + under_way_; }
  bool due(int64_t every) const;
  bool evaluated() const { return !evaluator_ || evaluated_step_ == last_enqueued(); }
  void evaluate(RunLog& log, const StopSignal& stop);
  void save(const RunHold& hold, RunFacts& facts, RunLog& log);

  Config config_;
  Device* device_;
  std::unique_ptr<BlendedStream> stream_;
  std::optional<Evaluator> evaluator_;
  Gpt model_;
  Optimizer optimizer_;
  SpikeGuard guard_;
  TrainState state_;
  // With train.on_nonfinite "skip" and no spike guard the device alone can decide whether an update
  // is applied, and the step's record may wait until the next step is enqueued.
  bool device_judges_, late_records_;
  std::vector<PendingStep> slots_;
  int64_t under_way_ = 0;  // steps enqueued whose records are not there yet
  std::optional<Loader> loader_;
  CheckpointKeeper keeper_;
  int64_t saved_step_ = 0, evaluated_step_ = 0;
};

}  // namespace midfill
