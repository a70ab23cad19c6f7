// Everything that a run says: lines on standard error and in RUN/log.txt, RUN/metrics.jsonl,
// RUN/tensorboard/. docs/training.md lists the fields with their units.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/config/config.h"
#include "src/eval/evaluate.h"
#include "src/model/parameters.h"
#include "src/train/append_file.h"
#include "src/train/metrics_log.h"
#include "src/train/spike_guard.h"
#include "src/train/tensorboard.h"

namespace midfill {

struct StepRecord {
  int64_t step = 0;        // counts from 1
  int64_t tokens = 0;      // seen so far, this step included
  double loss = 0.0;       // mean over the step's weighted tokens, nats
  double lr = 0.0;         // of this step, also where the update was skipped
  double grad_norm = 0.0;  // global L2 norm before clipping
  Verdict verdict = Verdict::apply;
  int64_t skipped = 0;              // updates skipped so far
  int64_t dropped = 0, padded = 0;  // tokens of this step, as in Sample
  double seconds = 0.0;             // of the step, waiting for data included
  double wait_seconds = 0.0;
};

// metrics.jsonl is a run's record: where it cannot be written, every call throws Error. A line for
// people or an event for TensorBoard that cannot be written is given up.
class RunLog {
 public:
  // Continues the logs of a run that stands at `step`. `peak_tflops` is what MFU is a share of; 0:
  // unknown, and so is MFU.
  RunLog(const std::filesystem::path& run, const Config& config, int64_t step, double peak_tflops);

  void line(const std::string& text);
  void step(const StepRecord& record);
  void evaluation(int64_t step, int64_t tokens, const std::vector<EvalResult>& results);
  bool has_evaluation(int64_t step) const { return metrics_.has_evaluation(step); }
  // What was written survives the machine.
  void sync();

 private:
  double share_of_peak(double flops) const;  // NaN where the peak is unknown
  void step_line(const StepRecord& record);
  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);

  Config config_;
  FlopsPerToken flops_;
  double peak_flops_;
  AppendFile text_;
  bool text_failed_ = false;  // the last time
  MetricsLog metrics_;
  std::optional<TensorBoard> tensorboard_;
  // Since the last line on the terminal.
  double seconds_ = 0.0, wait_seconds_ = 0.0;
  int64_t steps_ = 0;
};

}  // namespace midfill
