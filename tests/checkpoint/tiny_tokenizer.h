// A tokenizer of single bytes, for the tests of files that hold one.
#pragma once

#include <string>

#include "src/io/json.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/support/tokenizer_json.h"

namespace midfill::test {

// The 256 byte symbols as Hugging Face writes them, <|endoftext|> and <|padding|>; the sentinels
// are appended by the tokenizer itself.
inline Tokenizer tiny_tokenizer() {
  Json vocabulary = Json::object();
  int next = 256;  // bytes without a printable character of their own, in order
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    const int code = printable ? byte : next++;
    std::string symbol;
    if (code < 0x80) {
      symbol = static_cast<char>(code);
    } else {
      symbol += static_cast<char>(0xC0 | (code >> 6));
      symbol += static_cast<char>(0x80 | (code & 0x3F));
    }
    vocabulary[symbol] = byte;
  }
  const Json json = byte_level_tokenizer(vocabulary, Json::array(),
                                         Json::array({added_token(256, "<|endoftext|>", true),
                                                      added_token(257, "<|padding|>", true)}));
  return Tokenizer::from_json(json.dump(), "tiny tokenizer");
}

}  // namespace midfill::test
