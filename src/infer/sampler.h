// From logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct SamplingOptions {
  double temperature = 0.0;  // 0: the likeliest token (greedy); ties go to the smallest id
  double top_p = 1.0;        // draw among the likeliest tokens that together have this probability
  uint64_t seed = 1234;
};

class Sampler {
 public:
  // `allowed`: one flag per id of the vocabulary; the others are never chosen. Throws Error where
  // an option is out of range or no token is allowed.
  Sampler(const SamplingOptions& options, std::vector<bool> allowed);

  struct Choice {
    TokenId id;
    double logprob;  // natural log, by the model: temperature 1, whole vocabulary
  };
  // The draw is a pure function of (seed, sequence, position) and the logits: it depends neither on
  // what else is in a batch nor on the order of calls. sequence < 2^48, position < 2^32. Throws
  // Error for logits that are not finite.
  Choice choose(std::span<const float> logits, uint64_t sequence, uint64_t position);

 private:
  TokenId draw(std::span<const float> logits, double largest, double u);

  SamplingOptions options_;
  std::vector<bool> allowed_;
  struct Candidate {
    double weight;  // probability times a constant
    TokenId id;
  };
  std::vector<Candidate> candidates_;
};

}  // namespace midfill
