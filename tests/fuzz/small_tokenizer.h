// Tokenizers for the fuzzers: learnt from a page of code, prose and other scripts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/tokenizer/tokenizer.h"
#include "src/tokenizer/tokenizer_file.h"

namespace midfill::fuzz {

std::string small_tokenizer_json(bool space_runs);

// The merges of BPE as they are defined: of all adjacent pairs the one of lowest rank is merged,
// the leftmost of several, until no pair has a rank. Quadratic.
std::vector<TokenId> merge_by_definition(std::string_view piece, const TokenizerFile& file);

// "3 1 4", for messages.
std::string ids_text(const std::vector<TokenId>& ids);

}  // namespace midfill::fuzz
