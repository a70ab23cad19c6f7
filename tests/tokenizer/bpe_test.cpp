#include "src/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "kernels/common/rng.h"

namespace midfill {
namespace {

// Ids 0..255 are the bytes; then random merges of earlier tokens over a small alphabet.
struct Random {
  std::array<TokenId, 256> byte_ids;
  std::vector<Merge> merges;
  std::map<std::pair<TokenId, TokenId>, size_t> rank;

  Random(uint64_t seed, int letters, int n) {
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

std::string random_piece(Rng& rng, int letters, size_t length) {
  std::string piece(length, ' ');
  for (char& c : piece)
    c = static_cast<char>('a' + static_cast<int>(rng.below(static_cast<uint64_t>(letters))));
  return piece;
}

TEST(Bpe, MergesByRankThenLeftmost) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const int letters = 1 + static_cast<int>(seed % 4);
    const Random random(seed, letters, 1 + static_cast<int>(seed % 30));
    const Bpe bpe(random.byte_ids, random.merges, {});
    Rng rng(seed, Purpose::kTest, 1);
    // Lengths on both sides of the cache's and the short path's limits.
    for (const size_t length : {1, 2, 3, 5, 9, 22, 23, 24, 63, 64, 65, 66, 150, 400}) {
      const std::string piece = random_piece(rng, letters, length);
      for (int again = 0; again < 2; ++again) {
        std::vector<TokenId> ids{7};
        bpe.encode_piece(piece, ids);
        std::vector<TokenId> expected = random.merge(piece);
        expected.insert(expected.begin(), 7);
        ASSERT_EQ(ids, expected) << "seed " << seed << ", length " << length;
      }
    }
  }
}

TEST(Bpe, KeepsTheCachesOfTwoTokenizersApart) {
  const Random one(1, 2, 10), two(2, 2, 10);
  const Bpe a(one.byte_ids, one.merges, {}), b(two.byte_ids, two.merges, {});
  Rng rng(3, Purpose::kTest);
  for (int i = 0; i < 50; ++i) {
    const std::string piece = random_piece(rng, 2, 6);
    std::vector<TokenId> from_a, from_b;
    a.encode_piece(piece, from_a);
    b.encode_piece(piece, from_b);
    ASSERT_EQ(from_a, one.merge(piece));
    ASSERT_EQ(from_b, two.merge(piece));
  }
}

TEST(Bpe, WorksFromSeveralThreads) {
  const Random random(5, 3, 20);
  const Bpe bpe(random.byte_ids, random.merges, {});
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        Rng rng(t, Purpose::kTest, 2);
        for (int i = 0; i < 500; ++i) {
          const std::string piece = random_piece(rng, 3, 1 + rng.below(30));
          std::vector<TokenId> ids;
          bpe.encode_piece(piece, ids);
          wrong[t] += ids != random.merge(piece);
        }
      });
    }
  }
  EXPECT_EQ(wrong, (std::vector<int>{0, 0, 0, 0}));
}

TEST(Bpe, TakesWholePiecesFirst) {
  const Random random(1, 2, 4);
  const Bpe bpe(random.byte_ids, random.merges, {{"abab", 999}});
  std::vector<TokenId> ids;
  bpe.encode_piece("abab", ids);
  EXPECT_EQ(ids, std::vector<TokenId>{999});
}

// Quadratic time would take hours.
TEST(Bpe, IsFastOnOneLongPiece) {
  Random random(1, 1, 0);
  for (TokenId t = 'a', n = 0; n < 10; ++n) {
    random.merges.push_back({t, t, 256 + n});
    t = 256 + n;
  }
  const Bpe bpe(random.byte_ids, random.merges, {});
  std::vector<TokenId> ids;
  bpe.encode_piece(std::string(2'000'000, 'a'), ids);
  EXPECT_EQ(ids.size(), 2'000'000u / 1024 + 1);  // 1953 blocks of 1024, and 128
  EXPECT_EQ(ids.back(), 256 + 6);
}

}  // namespace
}  // namespace midfill
