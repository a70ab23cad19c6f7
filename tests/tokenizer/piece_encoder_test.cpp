#include "src/tokenizer/piece_encoder.h"

#include <gtest/gtest.h>

#include <thread>

#include "src/tokenizer/pre_tokenizer.h"
#include "tests/tokenizer/merge_definition.h"

namespace midfill {
namespace {

using test::random_piece;
using test::RandomMerges;
using Ids = std::vector<TokenId>;

PieceVocabulary vocabulary_of(const RandomMerges& random) {
  return {Bpe(random.byte_ids, random.merges), {}};
}

TEST(PieceEncoder, GivesTheSameIdsWhateverTheCachesHold) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const int letters = 1 + static_cast<int>(seed % 4);
    const RandomMerges random(seed, letters, 1 + static_cast<int>(seed));
    const PieceVocabulary vocabulary = vocabulary_of(random);
    PieceEncoder& encoder = PieceEncoder::of_thread();
    Rng rng(seed, Purpose::kTest, 1);
    for (int i = 0; i < 400; ++i) {
      // On both sides of the limits of the two caches and of the short merge.
      const std::string piece = random_piece(rng, letters, 1 + rng.below(i % 4 == 0 ? 80 : 20));
      const Ids expected = random.merge(piece);
      for (int again = 0; again < 2; ++again) {
        Ids ids;
        encoder.encode_piece(vocabulary, piece, ids);
        ASSERT_EQ(ids, expected) << piece;
        ids = {7};
        encoder.encode_text(vocabulary, piece, ids);  // letters are one piece
        ids.erase(ids.begin());
        ASSERT_EQ(ids, expected) << piece;
      }
    }
  }
}

// Many more pieces than there are entries, all of them again later.
TEST(PieceEncoder, SurvivesCollisions) {
  const RandomMerges random(2, 3, 25);
  const PieceVocabulary vocabulary = vocabulary_of(random);
  PieceEncoder& encoder = PieceEncoder::of_thread();
  for (int pass = 0; pass < 2; ++pass) {
    Rng rng(9, Purpose::kTest);
    for (int i = 0; i < 200'000; ++i) {
      const std::string piece = random_piece(rng, 3, 1 + rng.below(24));
      Ids ids;
      encoder.encode_piece(vocabulary, piece, ids);
      if (i % 16 == 0) {
        ASSERT_EQ(ids, random.merge(piece)) << piece;
      }
    }
  }
}

TEST(PieceEncoder, KeepsTokenizersApart) {
  const RandomMerges one(1, 2, 10), two(2, 2, 10);
  const PieceVocabulary a = vocabulary_of(one), b = vocabulary_of(two);
  Rng rng(3, Purpose::kTest);
  for (int i = 0; i < 2000; ++i) {
    const std::string piece = random_piece(rng, 2, 1 + rng.below(20));
    Ids from_a, from_b;
    PieceEncoder::of_thread().encode_piece(a, piece, from_a);
    PieceEncoder::of_thread().encode_piece(b, piece, from_b);
    ASSERT_EQ(from_a, one.merge(piece));
    ASSERT_EQ(from_b, two.merge(piece));
  }
}

// A tokenizer that stands where a former one stood does not meet its entries.
TEST(PieceEncoder, ForgetsATokenizerThatIsGone) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const RandomMerges random(seed, 2, 8);
    const auto vocabulary = std::make_unique<PieceVocabulary>(vocabulary_of(random));
    Ids ids;
    PieceEncoder::of_thread().encode_piece(*vocabulary, "abaababb", ids);
    ASSERT_EQ(ids, random.merge("abaababb"));
  }
}

TEST(PieceEncoder, WorksInSeveralThreads) {
  const RandomMerges random(5, 3, 20);
  const PieceVocabulary vocabulary = vocabulary_of(random);
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        Rng rng(t, Purpose::kTest, 2);
        for (int i = 0; i < 2000; ++i) {
          const std::string piece = random_piece(rng, 3, 1 + rng.below(30));
          Ids ids;
          PieceEncoder::of_thread().encode_piece(vocabulary, piece, ids);
          wrong[t] += ids != random.merge(piece);
        }
      });
    }
  }
  EXPECT_EQ(wrong, (std::vector<int>{0, 0, 0, 0}));
}

// What follows a text changes none of its pieces' ids but those at its end: texts that end at every
// place, within an allocation of their size.
TEST(PieceEncoder, EncodesPieceByPiece) {
  const RandomMerges random(6, 2, 12);
  const PieceVocabulary vocabulary = vocabulary_of(random);
  Rng rng(4, Purpose::kTest);
  std::string text;
  while (text.size() < 300) {
    text += random_piece(rng, 2, rng.below(rng.below(20) + 1));
    text += " !\n"[rng.below(3)];
  }
  for (size_t size = 0; size < text.size(); ++size) {
    const std::vector<char> exact(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(size));
    const std::string_view view(exact.data(), exact.size());
    Ids ids, expected;
    PieceEncoder::of_thread().encode_text(vocabulary, view, ids);
    for (size_t at = 0; at < size;) {
      const size_t end = gpt2_piece_end(view, at);
      const Ids piece = random.merge(view.substr(at, end - at));
      expected.insert(expected.end(), piece.begin(), piece.end());
      at = end;
    }
    ASSERT_EQ(ids, expected) << size;
  }
}

}  // namespace
}  // namespace midfill
