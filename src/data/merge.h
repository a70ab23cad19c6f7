// Several datasets in, one out: what `midfill data merge` does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/data/dataset_format.h"

namespace midfill {

struct MergeSummary {
  TokenType type{};
  int64_t sequences = 0, documents = 0, tokens = 0;
};

struct MergeOptions {
  std::vector<std::string> inputs;  // prefixes, in the order of the result; one may come twice
  std::string out;                  // prefix
  std::function<void(double share)> progress = nullptr;  // now and then; 0 to 1
  std::function<bool()> stop = nullptr;                  // true: give up, leaving nothing behind
};

// Lays datasets end to end, sequences and documents as they are (sequences that a document index
// leaves out are documents, as IndexedDataset has it). Ids are stored as u16 where every input
// holds them in two bytes or less, else as i32. Memory: that of one open input. Throws Error,
// leaving no file behind, for an existing output, an input that is broken, and an id below 0 or
// above 2^31 - 1.
MergeSummary merge_datasets(const MergeOptions& options);

}  // namespace midfill
