// A dataset, a tokenizer and a small configuration on disk, and what tests read back from runs.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "src/data/sample_stream.h"
#include "src/io/json.h"
#include "src/train/train.h"
#include "tests/support/test_support.h"

namespace midfill::test {

// One layer of width 32, 12 steps of 8 samples of 32 tokens in micro-batches of 3, on one thread;
// every checkpoint is kept.
class TrainFixture {
 public:
  TrainFixture();
  std::filesystem::path operator/(const std::string& name) const { return dir_ / name; }
  std::filesystem::path config_path() const { return dir_ / "small.json"; }

  TrainRequest request(const std::string& run, std::vector<std::string> overrides = {}) const;
  TrainRequest resume(const std::string& run) const;

 private:
  TemporaryDirectory dir_;
};

// The records of RUN/metrics.jsonl; fails the test where a line is no JSON object or is cut off.
std::vector<Json> metrics_of(const std::filesystem::path& run);
// Loss, learning rate, norm and counts of each step and the results of evaluations, without what
// depends on the clock; fails where a step stands twice or is missing.
std::vector<Json> trajectory_of(const std::filesystem::path& run);
// File name -> bytes of every file in a checkpoint.
std::map<std::string, std::string> files_of(const std::filesystem::path& checkpoint);
// Both runs have the same last checkpoint, bit for bit, and the same trajectory.
void expect_same_run(const std::filesystem::path& a, const std::filesystem::path& b);
// A copy of a run, as it stood when the checkpoint of `step` was its newest; 0: it had none yet.
void copy_as_of(const std::filesystem::path& run, const std::filesystem::path& copy, int64_t step);
std::filesystem::path newest_checkpoint(const std::filesystem::path& run);

// A token that stands in the inputs of some, but not most, of the first `steps` steps.
TokenId rare_token(const SampleStream& stream, int steps, int samples_per_step);

}  // namespace midfill::test
