// The merges by their definition, to hold the fast ways against; and random ones.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/common/rng.h"
#include "src/tokenizer/bpe.h"

namespace midfill::test {

// Ids 0..255 are the bytes; then random merges of earlier tokens over a small alphabet.
struct RandomMerges {
  std::array<TokenId, 256> byte_ids;
  std::vector<Merge> merges;
  std::map<std::pair<TokenId, TokenId>, size_t> rank;

  RandomMerges(uint64_t seed, int letters, int n) {
    for (int byte = 0; byte < 256; ++byte) byte_ids[static_cast<size_t>(byte)] = byte;
    Rng rng(seed, Purpose::kTest);
    const auto any = [&] {
      const auto i =
          static_cast<TokenId>(rng.below(static_cast<uint64_t>(letters) + merges.size()));
      return i < letters ? 'a' + i : 256 + i - letters;
    };
    while (static_cast<int>(merges.size()) < n) {
      const Merge m{any(), any(), 256 + static_cast<TokenId>(merges.size())};
      if (rank.emplace(std::pair(m.left, m.right), merges.size()).second) merges.push_back(m);
    }
  }

  // The same merges in another order.
  void shuffle(uint64_t seed) {
    Rng rng(seed, Purpose::kTest, 9);
    for (size_t i = merges.size(); i > 1; --i) std::swap(merges[i - 1], merges[rng.below(i)]);
    rank.clear();
    for (size_t i = 0; i < merges.size(); ++i) rank[{merges[i].left, merges[i].right}] = i;
  }

  // The definition: the pair of lowest rank, leftmost first, until there is none.
  std::vector<TokenId> merge(std::string_view piece) const {
    std::vector<TokenId> ids(piece.begin(), piece.end());
    for (;;) {
      size_t best = SIZE_MAX, where = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = rank.find({ids[i], ids[i + 1]});
        if (found == rank.end() || found->second >= best) continue;
        best = found->second;
        where = i;
      }
      if (best == SIZE_MAX) return ids;
      ids[where] = merges[best].result;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(where) + 1);
    }
  }
};

inline std::string random_piece(Rng& rng, int letters, size_t length) {
  std::string piece(length, ' ');
  for (char& c : piece)
    c = static_cast<char>('a' + static_cast<int>(rng.below(static_cast<uint64_t>(letters))));
  return piece;
}

}  // namespace midfill::test
