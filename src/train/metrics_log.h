// RUN/metrics.jsonl: one JSON object a line, for a step or an evaluation, in the order of steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "src/io/json.h"
#include "src/train/append_file.h"

namespace midfill {

class MetricsLog {
 public:
  // Opens RUN/metrics.jsonl for a run that stands at `step`. Lines of later steps, which the run
  // will do again, and what is no record, as a line that a killed process left half-written, move
  // to RUN/aside/metrics.jsonl, behind what is there: a line {"resumed_after": step, "lines": n}
  // and the n lines. No moment has them in neither file.
  MetricsLog(const std::filesystem::path& run, int64_t step);

  // `record` has "step"; numbers that are not finite become null.
  void write(const Json& record) { file_.append(record.dump() + "\n"); }
  void sync() { file_.sync(); }

  // Whether the file, as it was opened, held an evaluation after `step` steps.
  bool has_evaluation(int64_t step) const { return last_evaluation_ == step; }

 private:
  static std::optional<int64_t> truncate(const std::filesystem::path& run, int64_t step);

  std::optional<int64_t> last_evaluation_;
  AppendFile file_;
};

}  // namespace midfill
