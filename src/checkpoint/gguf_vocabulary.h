// A tokenizer as llama.cpp has it: a name for the way text is cut into pieces, tokens, merges.
// Source: llama.cpp, src/llama-vocab.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct GgufVocabulary {
  std::string pre;                     // tokenizer.ggml.pre: the pattern and what follows it
  std::vector<std::string> tokens;     // a row each; normal ones in the byte alphabet
  std::vector<int32_t> types;          // llama_token_type
  std::vector<std::string> merges;     // "left right", by rank
  std::vector<int32_t> never_sampled;  // as Generator never samples them
  std::vector<std::string> lost;       // what llama.cpp does otherwise, a line each
};

// `rows`: of the embedding, at least as many as the tokenizer has ids; the others get tokens that
// no text has. Throws Error (origin) where llama.cpp would give other ids to a text in NFC: a
// pre-tokenizer that it has no name for, added tokens that it matches in another way, no token that
// ends documents.
GgufVocabulary gguf_vocabulary(const Tokenizer& tokenizer, int rows, std::string_view origin);

}  // namespace midfill
