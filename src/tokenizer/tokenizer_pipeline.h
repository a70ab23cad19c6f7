// The parts of a tokenizer.json around its model: what happens to a text before merges, and to ids
// after them.
#pragma once

#include "src/tokenizer/json_node.h"
#include "src/tokenizer/tokenizer_file.h"

namespace midfill {

// Reads normalizer and pre_tokenizer, and checks that post_processor, decoder, truncation and
// padding are of the kinds that cannot change the ids of a text without special tokens. Throws
// Error (file, key, found, expected) for all else.
void read_pipeline(const JsonNode& root, TokenizerFile& file);

}  // namespace midfill
