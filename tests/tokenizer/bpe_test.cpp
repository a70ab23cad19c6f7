#include "src/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include "tests/tokenizer/merge_definition.h"

namespace midfill {
namespace {

using test::random_piece;
using test::RandomMerges;

TEST(Bpe, MergesByRankThenLeftmost) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const int letters = 1 + static_cast<int>(seed % 4);
    const RandomMerges random(seed, letters, 1 + static_cast<int>(seed % 30));
    const Bpe bpe(random.byte_ids, random.merges);
    Rng rng(seed, Purpose::kTest, 1);
    // Lengths on both sides of the short path's limits.
    for (const size_t length : {1, 2, 3, 5, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 150, 400}) {
      const std::string piece = random_piece(rng, letters, length);
      std::vector<TokenId> ids{7};
      bpe.encode(piece, ids);
      std::vector<TokenId> expected = random.merge(piece);
      expected.insert(expected.begin(), 7);
      ASSERT_EQ(ids, expected) << "seed " << seed << ", length " << length;
    }
  }
}

TEST(Bpe, TakesWholePiecesFirst) {
  const RandomMerges random(1, 2, 4);
  PieceIndex whole;
  whole.add("abab", 999);
  const Bpe bpe(random.byte_ids, random.merges, whole);
  std::vector<TokenId> ids;
  bpe.encode("abab", ids);
  EXPECT_EQ(ids, std::vector<TokenId>{999});
}

// A token whose own text merges into something else is never the answer for that text.
TEST(Bpe, TakesNoTokenThatItsOwnTextDoesNotGive) {
  // "ab" merges first, so "abc" is never a + bc, although that token has the text.
  std::array<TokenId, 256> byte_ids;
  for (int byte = 0; byte < 256; ++byte) byte_ids[static_cast<size_t>(byte)] = byte;
  const Bpe bpe(byte_ids, {{'a', 'b', 300}, {'b', 'c', 301}, {'a', 301, 302}});
  std::vector<TokenId> ids;
  bpe.encode("abc", ids);
  EXPECT_EQ(ids, (std::vector<TokenId>{300, 'c'}));
}

// Tables of all shapes, in windows or not: small alphabets make tokens that depend on far
// neighbours.
TEST(Bpe, JoinsWindowsExactly) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    const int letters = 1 + static_cast<int>(seed % 3);
    RandomMerges random(seed, letters, 3 + static_cast<int>(seed % 40));
    if (seed % 5 == 0) random.shuffle(seed);  // merges that use a token before it is made
    const Bpe bpe(random.byte_ids, random.merges);
    Rng rng(seed, Purpose::kTest, 4);
    for (int sample = 0; sample < 6; ++sample) {
      std::string piece = random_piece(rng, letters, 65 + rng.below(500));
      if (sample % 2 == 1) {  // periodic
        const size_t period = 1 + rng.below(9);
        for (size_t i = period; i < piece.size(); ++i) piece[i] = piece[i - period];
      }
      std::vector<TokenId> ids;
      bpe.encode(piece, ids);
      ASSERT_EQ(ids, random.merge(piece)) << "seed " << seed;
    }
  }
}

// The work is counted, not timed: a fixed multiple of the bytes, in windows of bounded size.
TEST(Bpe, IsLinearOnLongPieces) {
  RandomMerges random(1, 2, 0);
  for (TokenId t = 'a', n = 0; n < 7; ++n) {
    random.merges.push_back({t, t, 256 + n});  // runs of "a" up to 128
    t = 256 + n;
  }
  random.merges.push_back({'a', 'b', 263});
  random.merges.push_back({263, 263, 264});
  const Bpe bpe(random.byte_ids, random.merges);
  Rng rng(2, Purpose::kTest);
  for (const size_t n : {100'000, 200'000, 400'000}) {
    std::string alternating;
    while (alternating.size() < n) alternating += "ab";
    for (const std::string& piece :
         {std::string(n, 'a'), std::string(n, 'z'), alternating, random_piece(rng, 2, n)}) {
      LongPieceWork work;
      std::vector<TokenId> ids;
      bpe.encode(piece, ids, &work);
      EXPECT_GE(work.merged, n);
      EXPECT_LE(work.merged, 2 * n + 1024);
      EXPECT_LE(work.longest, 1024u);
    }
  }
  std::vector<TokenId> ids;
  bpe.encode(std::string(1'000'000, 'a'), ids);
  EXPECT_EQ(ids.size(), 1'000'000u / 128 + 1);  // 7812 blocks of 128, and 64
  EXPECT_EQ(ids.back(), 256 + 5);
}

TEST(PieceIndex, FindsWhatWasAdded) {
  PieceIndex index;
  EXPECT_EQ(index.find("a"), -1);
  std::map<std::string, TokenId> expected;
  Rng rng(1, Purpose::kTest);
  while (expected.size() < 3000) {
    const std::string piece = random_piece(rng, 3, 1 + rng.below(20));
    if (expected.emplace(piece, static_cast<TokenId>(expected.size())).second)
      index.add(piece, static_cast<TokenId>(expected.size()) - 1);
  }
  for (const auto& [piece, id] : expected) ASSERT_EQ(index.find(piece), id);
  for (int i = 0; i < 3000; ++i) {
    const std::string piece = random_piece(rng, 3, 1 + rng.below(22));
    const auto found = expected.find(piece);
    ASSERT_EQ(index.find(piece), found == expected.end() ? -1 : found->second);
  }
  EXPECT_EQ(index.find(""), -1);
}

}  // namespace
}  // namespace midfill
