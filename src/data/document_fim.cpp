#include "src/data/document_fim.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace midfill {

namespace {

// Lengths in contexts. Longer groups cost more work per sample, shorter ones spoil the end of more
// documents.
constexpr int64_t kGroupContexts = 4;
// Longer documents are transformed in pieces, so that no sample costs more than this.
constexpr int64_t kLongestContexts = 32;

TokenRange clip(TokenRange range, int64_t shift, int64_t begin, int64_t end) {
  const auto place = [&](int32_t at) {
    return static_cast<int32_t>(std::clamp(at + shift, begin, end));
  };
  return {place(range.begin), place(range.end)};
}

// The first of 0 to n - 1 that `before` does not hold for, else n; it holds up to there.
template <typename Before>
int64_t partition_point(int64_t n, Before before) {
  int64_t begin = 0;
  while (begin < n) {
    const int64_t middle = begin + (n - begin) / 2;
    if (before(middle)) {
      begin = middle + 1;
    } else {
      n = middle;
    }
  }
  return begin;
}

}  // namespace

DocumentFim::DocumentFim(const FimConfig& config, const Tokenizer& tokenizer,
                         std::shared_ptr<const PackedTokens> packed)
    : transform_(config, tokenizer), packed_(std::move(packed)) {}

DocumentFim::Group DocumentFim::group_at(int64_t position) const {
  const IndexedDataset& data = packed_->dataset();
  // The first sequence that starts at `at` or later, as a position.
  const auto start_from = [&](int64_t at) {
    const int64_t found = partition_point(data.n_sequences() + 1,
                                          [&](int64_t i) { return data.sequence_begin(i) < at; });
    return found > data.n_sequences() ? data.n_tokens() : data.sequence_begin(found);
  };
  const int64_t after = partition_point(
      data.n_sequences(), [&](int64_t i) { return data.sequence_begin(i) <= position; });
  const int64_t own_start = data.sequence_begin(after - 1);

  const int64_t stretch = kGroupContexts * packed_->n_ctx();
  const int64_t first = start_from(own_start / stretch * stretch);
  const int64_t end = start_from((own_start / stretch + 1) * stretch);
  const int64_t longest = kLongestContexts * packed_->n_ctx();
  const int64_t begin = first + (position - first) / longest * longest;
  return {begin, std::min(begin + longest, end)};
}

void DocumentFim::get(uint64_t seed, uint64_t epoch, int64_t k, Sample& sample) const {
  thread_local std::vector<TokenId> tokens;
  thread_local Sample group;
  const int64_t n_ctx = packed_->n_ctx();
  const int64_t begin = k * n_ctx, end = begin + n_ctx + 1;
  sample.tokens.clear();
  sample.weights.clear();
  sample.segments.clear();
  sample.dropped = sample.padded = sample.reverted = 0;

  for (int64_t at = begin; at < end;) {
    const Group span = group_at(at);
    packed_->read(span.begin, span.end - span.begin, tokens);
    const int64_t until = std::min(end, span.end);
    const auto from = at - span.begin, to = until - span.begin;
    const FimKey key{seed, Purpose::kDocumentFim, epoch, static_cast<uint64_t>(span.begin)};
    // What is dropped, and padding, are known at the group's end.
    const auto enough = until == span.end ? std::numeric_limits<int32_t>::max() : to;
    transform_.apply(tokens, key, group, static_cast<int32_t>(enough));
    sample.tokens.insert(sample.tokens.end(), group.tokens.begin() + from,
                         group.tokens.begin() + to);
    sample.weights.insert(sample.weights.end(), group.weights.begin() + from,
                          group.weights.begin() + to);
    const int64_t shift = span.begin - begin;
    for (const Segment& whole : group.segments) {
      const Segment part = {.kind = whole.kind,
                            .range = clip(whole.range, shift, at - begin, until - begin),
                            .prefix = clip(whole.prefix, shift, at - begin, until - begin),
                            .middle = clip(whole.middle, shift, at - begin, until - begin),
                            .suffix = clip(whole.suffix, shift, at - begin, until - begin)};
      if (part.range.size() > 0) sample.segments.push_back(part);
    }
    const int64_t padding = span.end - group.padded;
    sample.padded += static_cast<int32_t>(std::max<int64_t>(0, until - std::max(at, padding)));
    if (span.end < end) {
      sample.dropped += group.dropped;
      sample.reverted += group.reverted;
    }
    at = until;
  }
}

}  // namespace midfill
