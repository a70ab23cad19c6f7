#include "kernels/common/rng.h"

#include <cmath>
#include <set>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

// Known answers published with the reference implementation (Random123, kat_vectors).
TEST(Philox, GivesTheReferenceVectors) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, EveryPartOfTheKeyChangesTheStream) {
  std::set<uint64_t> first;
  first.insert(Rng(1, Purpose::kFim, 2, 3, 4).bits64());
  first.insert(Rng(9, Purpose::kFim, 2, 3, 4).bits64());
  first.insert(Rng(1, Purpose::kInit, 2, 3, 4).bits64());
  first.insert(Rng(1, Purpose::kFim, 9, 3, 4).bits64());
  first.insert(Rng(1, Purpose::kFim, 2, 9, 4).bits64());
  first.insert(Rng(1, Purpose::kFim, 2, 3, 9).bits64());
  first.insert(Rng(1, Purpose::kFim, 2, 3 + (uint64_t{1} << 32), 4).bits64());
  EXPECT_EQ(first.size(), 7u);
  EXPECT_EQ(Rng(1, Purpose::kFim, 2, 3, 4).bits64(), Rng(1, Purpose::kFim, 2, 3, 4).bits64());
}

TEST(Rng, BelowIsUniform) {
  Rng rng(7, Purpose::kTest);
  constexpr int kDraws = 60000;
  std::array<int, 6> count{};
  for (int i = 0; i < kDraws; ++i) ++count[rng.below(6)];
  double chi2 = 0;
  for (int c : count) chi2 += std::pow(c - kDraws / 6.0, 2) / (kDraws / 6.0);
  EXPECT_LT(chi2, 20.5);  // 99.9th percentile at 5 degrees of freedom
}

TEST(Rng, NormalHasUnitMoments) {
  Rng rng(7, Purpose::kTest, 1);
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.015);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.02);
}

TEST(Rng, RefusesCountersThatDoNotFit) {
  EXPECT_NE(test::error_of([] { Rng(1, Purpose::kFim, 1 << 16); }).find("epoch 65536"),
            std::string::npos);
}

}  // namespace
}  // namespace midfill
