#include "src/data/document_ends.h"

#include <algorithm>
#include <vector>

namespace midfill {

int64_t looked_at_without_eod(const IndexedDataset& dataset, TokenId eod) {
  constexpr int64_t kEnds = 1024, kFirst = int64_t{1} << 20, kAtOnce = int64_t{1} << 16;
  const int64_t first = std::min(dataset.n_tokens(), kFirst);
  int64_t behind = 0;  // ends that are not among the first tokens
  const int64_t n = dataset.n_sequences(), ends = std::min(n, kEnds);
  for (int64_t i = 0; i < ends; ++i) {
    // The last of each of `ends` equal runs of sequences.
    const int64_t sequence = n / ends * (i + 1) + n % ends * (i + 1) / ends - 1;
    if (dataset.sequence_size(sequence) == 0) continue;
    const int64_t at = dataset.sequence_begin(sequence + 1) - 1;
    TokenId last = -1;
    dataset.read(at, {&last, 1});
    if (last == eod) return 0;
    behind += at >= first;
  }
  std::vector<TokenId> tokens;
  for (int64_t at = 0; at < first; at += kAtOnce) {
    tokens.resize(static_cast<size_t>(std::min(kAtOnce, first - at)));
    dataset.read(at, tokens);
    if (std::ranges::find(tokens, eod) != tokens.end()) return 0;
  }
  return first + behind;
}

}  // namespace midfill
