// The training loop.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/config/config.h"
#include "src/data/loader.h"
#include "src/data/sample_stream.h"
#include "src/eval/evaluate.h"
#include "src/model/gpt.h"
#include "src/optim/optimizer.h"
#include "src/tokenizer/tokenizer.h"
#include "src/train/run_log.h"
#include "src/train/spike_guard.h"
#include "src/train/stop_signal.h"

namespace midfill {

class Trainer {
 public:
  // A run at step 0: opens the datasets, makes the model with initial weights. Writes nothing.
  // `config.model.vocab_size` is set; tokenizer and device must outlive the trainer.
  Trainer(const Config& config, const Tokenizer& tokenizer, Device& device);

  // Continues from a checkpoint that find_checkpoint() gave.
  void restore(const std::filesystem::path& checkpoint);

  // Steps, evaluations and checkpoints until the last step or a signal; the state is saved before
  // it returns. True where the run is complete. The caller holds the run's lock.
  bool run(const std::filesystem::path& directory, RunLog& log, const StopSignal& stop);

  // One step on the loader's next batch. Throws Error, with weights, moments and state as before
  // the step, where the update is not finite and the configuration says stop; and, after the step,
  // where max_skips updates in a row were skipped.
  StepRecord step(Loader& loader, RunLog& log);

  const TrainState& state() const { return state_; }
  Gpt& model() { return model_; }
  const Optimizer& optimizer() const { return optimizer_; }
  const SampleStream& stream() const { return *stream_; }
  bool evaluates() const { return evaluator_.has_value(); }

 private:
  bool due(int64_t every) const;
  double forward_backward(const SampleBatch& batch);
  void report_skip(const StepRecord& record, const SampleBatch& batch, RunLog& log) const;
  void evaluate(RunLog& log);
  void save(const std::filesystem::path& directory, RunLog& log);

  Config config_;
  Device* device_;
  std::unique_ptr<SampleStream> stream_;
  std::optional<Evaluator> evaluator_;
  Gpt model_;
  Optimizer optimizer_;
  SpikeGuard guard_;
  TrainState state_;
  std::vector<float> losses_;         // of the tokens of one micro-batch
  std::vector<int64_t> bad_samples_;  // of this step, with a loss that is not finite
  int64_t saved_step_ = 0;
};

}  // namespace midfill
