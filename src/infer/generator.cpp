#include "src/infer/generator.h"

#include <algorithm>
#include <numeric>

namespace midfill {

namespace {

// Random numbers are keyed by task * 2^20 + candidate.
constexpr int kCandidateBits = 20;

std::vector<bool> allowed_tokens(const Gpt& model, const Tokenizer& tokenizer) {
  std::vector<bool> allowed(static_cast<size_t>(model.config().vocab_size), false);
  const auto known = std::min<size_t>(allowed.size(), tokenizer.vocab_size());
  for (size_t id = 0; id < known; ++id)
    allowed[id] = !tokenizer.is_special(static_cast<TokenId>(id)) &&
                  !tokenizer.bytes_of(static_cast<TokenId>(id)).empty();
  const TokenId eod = tokenizer.sentinels().eod;
  if (eod >= 0 && static_cast<size_t>(eod) < allowed.size()) allowed[eod] = true;
  return allowed;
}

GenerationOptions checked(const GenerationOptions& o, const ModelConfig& model) {
  require(o.max_new_tokens >= 1 && o.max_new_tokens < model.n_ctx,
          "max-new-tokens {}: expected 1 to {}, one less than the context", o.max_new_tokens,
          model.n_ctx - 1);
  require(o.samples >= 1 && o.best_of >= 1 &&
              int64_t{o.samples} * o.best_of < (int64_t{1} << kCandidateBits),
          "samples {}, best-of {}: expected at least 1 and less than {} candidates", o.samples,
          o.best_of, 1 << kCandidateBits);
  require(o.batch >= 1, "batch {}: expected at least 1", o.batch);
  require(o.samples * o.best_of == 1 || o.sampling.temperature > 0.0,
          "samples {}, best-of {}: greedy decoding gives the same completion each time, set a "
          "temperature above 0",
          o.samples, o.best_of);
  return o;
}

}  // namespace

size_t best_of(std::span<const Completion> candidates) {
  const auto worse = [](const Completion& a, const Completion& b) {
    return a.ended != b.ended ? b.ended : a.mean_logprob < b.mean_logprob;
  };
  return std::max_element(candidates.begin(), candidates.end(), worse) - candidates.begin();
}

Generator::Generator(const Gpt& model, const Tokenizer& tokenizer, const GenerationOptions& options)
    : model_(&model),
      tokenizer_(&tokenizer),
      options_(checked(options, model.config())),
      sampler_(options.sampling, allowed_tokens(model, tokenizer)),
      decoder_(model, std::min(options.batch, options.samples * options.best_of)) {}

int64_t Generator::max_prompt() const {
  return model_->config().n_ctx - options_.max_new_tokens;
}

std::vector<Completion> Generator::complete(std::span<const TokenId> prompt, uint64_t task) {
  require(!prompt.empty() && static_cast<int64_t>(prompt.size()) <= max_prompt(),
          "prompt of {} tokens: expected 1 to {}", prompt.size(), max_prompt());
  const int total = options_.samples * options_.best_of;
  decoder_.rewind(0);
  const auto first = decoder_.append(prompt);
  const std::vector<float> logits(first.begin(), first.end());  // of the token after the prompt

  std::vector<Completion> candidates;
  for (int begin = 0; begin < total; begin += decoder_.max_batch()) {
    const int count = std::min(decoder_.max_batch(), total - begin);
    decoder_.rewind(static_cast<int64_t>(prompt.size()));
    for (Completion& c : decode_batch(logits, (task << kCandidateBits) + begin, count))
      candidates.push_back(std::move(c));
  }

  std::vector<Completion> chosen;
  for (int s = 0; s < options_.samples; ++s) {
    const std::span<Completion> group(candidates.data() + s * options_.best_of, options_.best_of);
    chosen.push_back(std::move(group[best_of(group)]));
  }
  return chosen;
}

// Candidates [0, count) after the prompt that is in sequence 0 of the decoder. Those that end leave
// the batch.
std::vector<Completion> Generator::decode_batch(std::span<const float> prompt_logits,
                                                uint64_t first_sequence, int count) {
  const auto vocab = static_cast<size_t>(model_->config().vocab_size);
  const TokenId eod = tokenizer_->sentinels().eod;
  std::vector<Completion> completions(count);
  std::vector<int> active(count);  // row of the decoder -> candidate
  std::iota(active.begin(), active.end(), 0);
  decoder_.broadcast(count);

  std::span<const float> logits = prompt_logits;
  for (int step = 0; step < options_.max_new_tokens && !active.empty(); ++step) {
    std::vector<int> rows, still_active;
    std::vector<TokenId> next;
    for (size_t row = 0; row < active.size(); ++row) {
      Completion& c = completions[active[row]];
      const auto choice = sampler_.choose(step == 0 ? logits : logits.subspan(row * vocab, vocab),
                                          first_sequence + active[row], step);
      c.mean_logprob += choice.logprob;
      c.ended = choice.id == eod;
      if (c.ended) continue;
      c.tokens.push_back(choice.id);
      rows.push_back(static_cast<int>(row));
      still_active.push_back(active[row]);
      next.push_back(choice.id);
    }
    if (rows.size() < active.size() && !rows.empty()) decoder_.keep(rows);
    active = std::move(still_active);
    if (!active.empty() && step + 1 < options_.max_new_tokens) logits = decoder_.append(next);
  }
  for (Completion& c : completions) {
    c.mean_logprob /= static_cast<double>(c.tokens.size() + (c.ended ? 1 : 0));
    c.text = tokenizer_->decode(c.tokens);
  }
  return completions;
}

}  // namespace midfill
