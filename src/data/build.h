// Documents in, a tokenised dataset out: what `midfill data build` does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "src/data/documents.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct SplitCounts {
  int64_t documents = 0;
  int64_t tokens = 0;  // each document's EOD included
  int64_t bytes = 0;   // of text
  SplitCounts operator+(const SplitCounts& other) const {
    return {documents + other.documents, tokens + other.tokens, bytes + other.bytes};
  }
};

struct BuildProgress {
  uint64_t bytes_done = 0, bytes_total = 0;  // of the input files, as stored
  SplitCounts all;
};

struct BuildSummary {
  SplitCounts train, valid;
  DocumentCounts read;
  SplitCounts all() const { return train + valid; }
};

struct BuildOptions {
  std::vector<std::string> inputs, include = {}, exclude = {};  // as list_inputs takes them
  std::string out;               // PREFIX of PREFIX_train and PREFIX_valid
  double valid_fraction = 0.01;  // [0, 1); 0: no PREFIX_valid
  int threads = 0;               // 0: all
  DocumentOptions documents = {};
  std::function<void(const BuildProgress&)> progress = nullptr;  // now and then
  std::function<bool()> stop = nullptr;  // true: give up, leaving nothing behind
};

// Encodes every document (special tokens in its text are text), ends it with EOD, and writes it to
// PREFIX_train or PREFIX_valid, in the order of the input. The result is the same for any number of
// threads. Memory: a few times 16 MiB, a few times the largest document, 4 bytes a document. Throws
// Error, leaving no file behind, where an output exists (before any work), the tokenizer has no
// EOD, an input is broken, there is no document, or `stop` says so.
BuildSummary build_dataset(const Tokenizer& tokenizer, const BuildOptions& options);

// Whether a document belongs to the validation split. Depends on its text alone, so that equal
// documents are on one side, and on the fraction monotonically: a larger one keeps all that a
// smaller one had.
bool in_validation(std::string_view text, double fraction);

}  // namespace midfill
