// Whether a dataset says where its documents end.
#pragma once

#include <cstdint>

#include "src/data/indexed_dataset.h"

namespace midfill {

// Looks for `eod` at the ends of up to 1,024 sequences, spread over the dataset, and then among its
// first 2^20 tokens. Returns 0 where it is found, else how many tokens were looked at.
int64_t looked_at_without_eod(const IndexedDataset& dataset, TokenId eod);

}  // namespace midfill
