// A tokenizer.json as the GPT-NeoX-20B file is laid out: NFC, the GPT-2 pattern, byte-level BPE.
#pragma once

#include "src/io/json.h"

namespace midfill::test {

// vocabulary: {symbol: id}; merges: ["a b", ...]; added: the objects of "added_tokens".
Json byte_level_tokenizer(const Json& vocabulary, const Json& merges, const Json& added);

// One object of "added_tokens"; a special token is matched before normalisation, another one after.
Json added_token(int id, const std::string& content, bool special);

}  // namespace midfill::test
