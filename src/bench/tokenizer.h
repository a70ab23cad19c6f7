// `midfill bench tokenizer`: how fast text becomes tokens, and tokens text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/io/json.h"

namespace midfill {

struct TokenizerBench {
  std::string tokenizer;                              // a tokenizer.json
  std::vector<std::string> inputs, include, exclude;  // as list_inputs takes them
  std::string text_key = "text";                      // of JSONL
  uint64_t max_bytes = 0;                             // of text; 0: all of it
  int threads = 0;                                    // 1, 2, 4, ... up to so many; 0: all
  int runs = 5;                                       // after one of warm-up
};

// Encodes every document as `data build` does (special tokens in its text are text), then decodes,
// with all text and ids in memory. One object: "documents", "bytes" of text, "tokens",
// "bytes_per_token", "ids_crc32" (of the ids as 32-bit little-endian numbers, document after
// document: what another tokenizer must agree with), then "results", one for each work ("encode",
// "decode") and number of threads, with the rates of rates_of() and "speedup" over one thread; then
// the machine. Throws Error where an input cannot be read or holds no document.
Json run_tokenizer_bench(const TokenizerBench& options);

// A table of the results under the machine and the text.
std::string tokenizer_bench_text(const Json& report);

}  // namespace midfill
