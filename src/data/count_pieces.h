// Documents in, the counts that a tokenizer is learnt from out: what `midfill tokenizer train`
// reads, by the same code as `midfill data build`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/data/documents.h"
#include "src/tokenizer/piece_counts.h"

namespace midfill {

struct CountOptions {
  // As list_inputs takes them; or "-" alone, standard input.
  std::vector<std::string> inputs, include = {}, exclude = {};
  int threads = 0;  // that count; 0: all
  DocumentOptions documents = {};
  InputReports reports = {};
};

// What went into the counts.
struct CountedDocuments {
  int64_t files = 0, documents = 0, bytes = 0;  // bytes of text
  int64_t bad_lines = 0, binary_files = 0;      // passed over; binary files are not among `files`
};

// Adds the pieces of every document to `counts`. The result does not depend on the number of
// threads, nor on how the documents are spread over files. Bad lines are passed over and counted.
// Memory: the counts of each thread, a few MiB, and the largest document. Throws Error as
// build_dataset() does for its inputs.
CountedDocuments count_pieces(const CountOptions& options, PieceCounts& counts);

}  // namespace midfill
