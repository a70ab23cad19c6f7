// Infilling problems out of held-out documents, to look at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/data/indexed_dataset.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct Example {
  int64_t document = 0;  // of the dataset
  int64_t line = 0;      // from 1
  std::string prefix, middle, suffix;
};

// `count` single lines (indentation and line end excluded) of at least 12 characters, each from
// another document, with all that stands around them. A pure function of dataset and seed. Fewer
// where the dataset has not as many such documents; throws Error where it has none.
std::vector<Example> held_out_examples(const IndexedDataset& dataset, const Tokenizer& tokenizer,
                                       uint64_t seed, int count);

}  // namespace midfill
