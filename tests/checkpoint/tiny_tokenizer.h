// A tokenizer of single bytes, for the tests of files that hold one.
#pragma once

#include <string>

#include "src/io/json.h"
#include "src/tokenizer/tokenizer.h"

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
  const auto special = [](int id, const char* text) {
    return Json{{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", {special(256, "<|endoftext|>"), special(257, "<|padding|>")}},
                     {"normalizer", {{"type", "NFC"}}},
                     {"pre_tokenizer", byte_level},
                     {"post_processor", byte_level},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"vocab", vocabulary},
                       {"merges", Json::array()}}}};
  return Tokenizer::from_json(json.dump(), "tiny tokenizer");
}

}  // namespace midfill::test
