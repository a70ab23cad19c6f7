// A run directory: config.json (resolved, every default), tokenizer.json, metrics.jsonl,
// tensorboard/, log.txt and checkpoints.
#pragma once

#include <filesystem>

#include "src/config/config.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Creates the directory with config.json and tokenizer.json. Throws Error where it already holds a
// run. config.json is written last: a directory without it holds no run.
void create_run(const std::filesystem::path& run, const Config& config, const Tokenizer& tokenizer);
bool is_run(const std::filesystem::path& directory);
// Throws Error where the directory holds no run or its config.json is not valid.
Config read_run_config(const std::filesystem::path& run);
std::filesystem::path run_tokenizer(const std::filesystem::path& run);

// Held by whoever writes to a run (train, import), so that two writers never mix their steps: an
// advisory lock on RUN/.lock, released with the object and by the death of the process.
class RunLock {
 public:
  // Throws Error naming the other process where the run is locked already.
  explicit RunLock(const std::filesystem::path& run);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

}  // namespace midfill
