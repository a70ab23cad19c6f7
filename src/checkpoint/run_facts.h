// RUN/run.json: what a run must find again when it goes on, kept where no configuration holds it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace midfill {

// One dataset, known by what it holds: its path is no part of it, as files move.
struct SourceFacts {
  std::string name;  // of the source, where it has one
  int64_t tokens = 0;
  int64_t samples = 0;      // of an epoch, or of the validation stream
  std::string fingerprint;  // src/data/fingerprint.h
  bool operator==(const SourceFacts&) const = default;
};

struct RunFacts {
  std::string tokenizer;                  // fingerprint of RUN/tokenizer.json; empty: not known
  std::vector<SourceFacts> train, valid;  // empty: not known
  int64_t saved = -1;                     // step of the checkpoint saved last; -1: none yet
};

// All unknown where the run has no such file, as those of older versions. Throws Error where it
// cannot be read.
RunFacts read_run_facts(const std::filesystem::path& run);
void write_run_facts(const std::filesystem::path& run, const RunFacts& facts);

}  // namespace midfill
