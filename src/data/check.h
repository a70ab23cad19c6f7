// What is wrong with a dataset: what `midfill data check` does. It changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/data/dataset_format.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct DatasetProblem {
  std::string kind;                // "ids"; for programs
  std::string what;                // "ids outside 0 to 50279"
  int64_t count = 0;               // how often
  std::vector<std::string> first;  // the first places, at most five
};

struct DatasetReport {
  std::string prefix;
  std::optional<TokenType> type;          // where the header says it
  int64_t sequences = 0, documents = 0;   // of the index, as far as it can be read
  int64_t tokens = 0;                     // of the .bin file
  uint64_t bin_bytes = 0, idx_bytes = 0;  // as found
  std::vector<DatasetProblem> problems;
  std::vector<std::string> notes;  // what is not wrong, but must be known
  bool ok() const { return problems.empty(); }
};

struct CheckOptions {
  const Tokenizer* tokenizer = nullptr;  // without one, ids and ends of documents are not judged
  std::function<void(double share)> progress = nullptr;  // now and then; 0 to 1
};

// Reads all of PREFIX.bin and PREFIX.idx. Memory: a few MiB. Throws Error only where the disk
// refuses.
DatasetReport check_dataset(const std::string& prefix, const CheckOptions& options);

}  // namespace midfill
