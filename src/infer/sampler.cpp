#include "src/infer/sampler.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"

namespace midfill {

Sampler::Sampler(const SamplingOptions& options, std::vector<bool> allowed)
    : options_(options), allowed_(std::move(allowed)) {
  require(options.temperature >= 0.0 && std::isfinite(options.temperature),
          "temperature {}: expected 0 (greedy) or more", options.temperature);
  require(options.top_p > 0.0 && options.top_p <= 1.0, "top-p {}: expected above 0, at most 1",
          options.top_p);
  require(std::find(allowed_.begin(), allowed_.end(), true) != allowed_.end(),
          "sampling: no token of the vocabulary is allowed");
}

Sampler::Choice Sampler::choose(std::span<const float> logits, uint64_t sequence,
                                uint64_t position) {
  require(logits.size() == allowed_.size(), "sampling: {} logits, expected {}", logits.size(),
          allowed_.size());
  float top_of_all = logits[0];
  TokenId best = -1;  // allowed
  for (size_t id = 0; id < logits.size(); ++id) {
    require(std::isfinite(logits[id]), "sampling: the logit of token {} at position {} is {}", id,
            position, logits[id]);
    top_of_all = std::max(top_of_all, logits[id]);
    if (allowed_[id] && (best < 0 || logits[id] > logits[best])) best = static_cast<TokenId>(id);
  }
  double total = 0.0;
  for (float logit : logits) total += std::exp(static_cast<double>(logit) - top_of_all);

  TokenId id = best;
  if (options_.temperature > 0.0) {
    Rng rng(options_.seed, Purpose::kSampling, 0, sequence, position);
    id = draw(logits, logits[best], rng.uniform());
  }
  return {id, static_cast<double>(logits[id]) - top_of_all - std::log(total)};
}

// Walks through the candidates until the share u of their weight is behind.
TokenId Sampler::draw(std::span<const float> logits, double largest, double u) {
  candidates_.clear();
  double total = 0.0;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!allowed_[id]) continue;
    const double weight = std::exp((logits[id] - largest) / options_.temperature);
    candidates_.push_back({weight, static_cast<TokenId>(id)});
    total += weight;
  }
  if (options_.top_p < 1.0) {
    // The likeliest first, as many as it takes: the rest need not be sorted.
    const auto less = [](const Candidate& a, const Candidate& b) {
      return a.weight < b.weight || (a.weight == b.weight && a.id > b.id);
    };
    std::make_heap(candidates_.begin(), candidates_.end(), less);
    auto end = candidates_.end();
    double kept = 0.0;
    while (end != candidates_.begin() && kept < options_.top_p * total) {
      std::pop_heap(candidates_.begin(), end, less);
      kept += (--end)->weight;
    }
    candidates_.erase(candidates_.begin(), end);
    std::reverse(candidates_.begin(), candidates_.end());
    total = kept;
  }
  double behind = 0.0;
  TokenId id = -1;  // stays the last possible one where u * total is rounded up to the sum
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight == 0.0) continue;
    id = candidate.id;
    behind += candidate.weight;
    if (u * total < behind) break;
  }
  return id;
}

}  // namespace midfill
