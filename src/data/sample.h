// What the model trains on: one sample of n_ctx + 1 tokens, with a weight for each and the segments
// it is made of.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

enum class SegmentKind : uint8_t { ar, psm, spm1, spm2 };
inline constexpr int kSegmentKinds = 4;
std::string_view name_of(SegmentKind kind);  // "ar", "psm", "spm1", "spm2"

// A range of token positions in a sample.
struct TokenRange {
  int32_t begin = 0, end = 0;
  int32_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

// A run of tokens between document ends, with its sentinels and its EOD if it has one.
struct Segment {
  SegmentKind kind = SegmentKind::ar;
  TokenRange range;  // all of it: sentinels, parts, EOD
  // The parts' tokens, sentinels not included. ar: prefix is all the text, the rest empty (but for
  // EvalStream::middle_ar).
  TokenRange prefix, middle, suffix;
  bool operator==(const Segment&) const = default;
};

struct Sample {
  int64_t index = 0;            // position in the stream
  int32_t source = 0;           // of the datasets of the stream, from 0
  std::vector<TokenId> tokens;  // n_ctx + 1
  // n_ctx + 1: weight of the loss of predicting tokens[i]; 0: ignored. tokens[0] is never
  // predicted: weights[0] is 0.
  std::vector<float> weights;
  std::vector<Segment> segments;
  int32_t dropped = 0;  // tokens of the data given up to make room
  int32_t padded = 0;   // pad tokens that fill the room left over: at the very end, or, at document
                        // level, at the end of a group of documents
  int32_t reverted = 0;  // segments drawn for FIM but left as they are, because they hold special
                         // tokens or text that does not survive decoding and encoding
  bool operator==(const Sample&) const = default;
};

}  // namespace midfill
