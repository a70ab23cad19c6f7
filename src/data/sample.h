// What the model trains on: one sample of n_ctx + 1 tokens, with a weight for each and the segments
// it is made of.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

enum class SegmentKind : uint8_t { ar, psm, spm1, spm2 };
std::string_view name_of(SegmentKind kind);  // "ar", "psm", "spm1", "spm2"

// A range of token positions in a sample.
struct TokenRange {
  int32_t begin = 0, end = 0;
  int32_t size() const { return end - begin; }
};

// A run of tokens between document ends, with its sentinels and its EOD if it has one.
struct Segment {
  SegmentKind kind = SegmentKind::ar;
  TokenRange range;                   // all of it: sentinels, parts, EOD
  TokenRange prefix, middle, suffix;  // the parts' tokens, sentinels not included; ar: prefix is
                                      // all the text, the rest empty
};

struct Sample {
  int64_t index = 0;            // position in the stream
  std::vector<TokenId> tokens;  // n_ctx + 1
  std::vector<float>
      weights;  // n_ctx + 1: weight of the loss of predicting tokens[i]; 0 = ignored; [0] is unused
  std::vector<Segment> segments;
  int32_t dropped = 0;  // tokens of text given up to make room
  int32_t padded = 0;   // pad tokens at the very end
};

}  // namespace midfill
