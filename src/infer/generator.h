// Completions of a prompt.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/infer/decoder.h"
#include "src/infer/sampler.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct GenerationOptions {
  int max_new_tokens = 128;
  SamplingOptions sampling = {};
  int samples = 1;  // completions of a prompt
  int best_of = 1;  // candidates for each, of which the best stays
  int batch = 8;    // sequences decoded at once
};

struct Completion {
  std::vector<TokenId> tokens;  // without the EOD
  std::string text;             // their bytes; may break off inside a UTF-8 character
  bool ended = false;           // the model put an EOD; otherwise max_new_tokens were reached
  double mean_logprob = 0.0;    // per token, natural log, temperature 1, the EOD included
};

// The index of the best: completions that ended come before those that did not, then the larger
// mean log-probability counts, then the smaller index (Bavarian et al., 2022, "EOT-aware
// best-of-n").
size_t best_of(std::span<const Completion> candidates);

class Generator {
 public:
  // Never chosen: special tokens other than the EOD, and ids that the tokenizer does not have.
  // Throws Error where an option is out of range, or where several completions are asked for
  // without sampling, which would give the same one again. Model and tokenizer must outlive it.
  Generator(const Gpt& model, const Tokenizer& tokenizer, const GenerationOptions& options);

  // Tokens a prompt may have: n_ctx - max_new_tokens.
  int64_t max_prompt() const;

  // `samples` completions of a prompt (not empty, at most max_prompt() tokens). Sample s of prompt
  // `task` draws the same random numbers whatever else is asked for.
  std::vector<Completion> complete(std::span<const TokenId> prompt, uint64_t task = 0);

 private:
  std::vector<Completion> decode_batch(std::span<const float> logits, uint64_t first_sequence,
                                       int count);

  const Gpt* model_;
  const Tokenizer* tokenizer_;
  GenerationOptions options_;
  Sampler sampler_;
  Decoder decoder_;
};

}  // namespace midfill
