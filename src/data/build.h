// Documents in, a tokenised dataset out: what `midfill data build` does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "src/data/build_state.h"
#include "src/data/documents.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct BuildProgress {
  uint64_t bytes_done = 0, bytes_total = 0;  // of the input files, as stored; total 0: not known
  SplitCounts all;
  int64_t bytes_now = 0;  // of text, by this run of a build that was taken up again
};

struct BuildSummary {
  SplitCounts train, valid;
  ReadCounts read;
  std::string bad_lines_file;  // where they are listed; empty: there were none
  bool resumed = false;
  SplitCounts all() const { return train + valid; }
};

struct BuildOptions {
  // As list_inputs takes them; or "-" alone, standard input.
  std::vector<std::string> inputs, include = {}, exclude = {};
  std::string out;               // PREFIX of PREFIX_train and PREFIX_valid
  double valid_fraction = 0.01;  // [0, 1); 0: no PREFIX_valid
  int threads = 0;               // that tokenise; 0: all
  double save_seconds = 20;      // between two states that a killed build can go on from
  DocumentOptions documents = {};
  InputReports reports = {};
  std::function<void(const BuildProgress&)> progress = nullptr;  // now and then
  std::function<bool()> stop = nullptr;                          // true: end, to go on another time
};

// Encodes every document (special tokens in its text are text), ends it with EOD, and writes it to
// PREFIX_train or PREFIX_valid, whose folders are made, in the order of the input. The result is
// the same for any number of threads. Bad lines are passed over, counted, and listed in
// PREFIX_bad_lines.jsonl.
//   Until the end the outputs lie in PREFIX.building (build_state.h). A build that was killed,
// interrupted or stopped by an Error on its way goes on from there when it is called again with the
// same options, and ends with the same bytes; standard input begins anew.
//   Memory: a few MiB a thread, a few times the largest document; 8 bytes and its name an input
// file. Throws Error where an output exists (before any work), the tokenizer has no EOD,
// PREFIX.building belongs to another command or is in use, an input cannot be read to its end,
// there is no document, the disk refuses, or `stop` says so.
BuildSummary build_dataset(const Tokenizer& tokenizer, const BuildOptions& options);

// Whether a document belongs to the validation split. Depends on its text alone, so that equal
// documents are on one side, and on the fraction monotonically: a larger one keeps all that a
// smaller one had.
bool in_validation(std::string_view text, double fraction);

}  // namespace midfill
