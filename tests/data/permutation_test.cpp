#include "src/data/permutation.h"

#include <array>
#include <map>
#include <vector>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Permutation, IsABijectionForEverySize) {
  std::vector<uint64_t> sizes;
  for (uint64_t n = 1; n <= 70; ++n) sizes.push_back(n);
  for (const uint64_t n : {97, 127, 128, 129, 255, 1021, 4093, 4096, 4097, 10007})
    sizes.push_back(n);
  for (const uint64_t n : sizes) {
    const Permutation permutation(1234, Purpose::kSampleOrder, 3, n);
    std::vector<int> hits(n, 0);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t image = permutation(i);
      ASSERT_LT(image, n);
      ++hits[image];
    }
    for (uint64_t i = 0; i < n; ++i) ASSERT_EQ(hits[i], 1) << "n " << n << ", element " << i;
  }
}

TEST(Permutation, DependsOnSeedAndEpoch) {
  constexpr uint64_t kSize = 1000;
  const Permutation a(1, Purpose::kSampleOrder, 0, kSize), same(1, Purpose::kSampleOrder, 0, kSize),
      epoch(1, Purpose::kSampleOrder, 1, kSize), seed(2, Purpose::kSampleOrder, 0, kSize);
  int as_epoch = 0, as_seed = 0, fixed = 0;
  for (uint64_t i = 0; i < kSize; ++i) {
    EXPECT_EQ(a(i), same(i));
    as_epoch += a(i) == epoch(i);
    as_seed += a(i) == seed(i);
    fixed += a(i) == i;
  }
  // Unrelated permutations agree in one place on average, however large they are.
  EXPECT_LT(as_epoch, 10);
  EXPECT_LT(as_seed, 10);
  EXPECT_LT(fixed, 10);
}

// All orders of a few elements come up equally often.
TEST(Permutation, IsUniformOnSmallSets) {
  for (const uint64_t n : {2, 3, 4}) {
    std::map<std::vector<uint64_t>, int> count;
    constexpr int kEpochs = 24000;
    for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
      const Permutation permutation(7, Purpose::kSampleOrder, epoch, n);
      std::vector<uint64_t> order;
      for (uint64_t i = 0; i < n; ++i) order.push_back(permutation(i));
      ++count[order];
    }
    const size_t orders = n == 2 ? 2 : n == 3 ? 6 : 24;
    ASSERT_EQ(count.size(), orders);
    const double expected = static_cast<double>(kEpochs) / static_cast<double>(orders);
    for (const auto& [order, times] : count) EXPECT_NEAR(times, expected, 0.15 * expected);
  }
}

// Where an element lands is uniform over [0, n), in eight parts.
TEST(Permutation, SpreadsElementsEvenly) {
  constexpr uint64_t kSize = 100003;
  std::array<int, 8> count{};
  constexpr int kDraws = 16000;
  for (int i = 0; i < kDraws; ++i)
    ++count[Permutation(5, Purpose::kSampleOrder, static_cast<uint64_t>(i % 60),
                        kSize)(static_cast<uint64_t>(i)) *
            8 / kSize];
  double chi_square = 0;
  for (const int c : count) chi_square += (c - kDraws / 8.0) * (c - kDraws / 8.0) / (kDraws / 8.0);
  EXPECT_LT(chi_square, 24.3);  // 7 degrees of freedom, p = 0.001
}

TEST(Permutation, ServesLargeSetsAndRefusesImpossibleOnes) {
  const uint64_t n = (uint64_t{1} << 47) + 12345;
  const Permutation permutation(1, Purpose::kSampleOrder, 0, n);
  for (const uint64_t i : {uint64_t{0}, uint64_t{1}, n / 2, n - 1}) EXPECT_LT(permutation(i), n);
  EXPECT_NE(test::error_of([] { Permutation(1, Purpose::kSampleOrder, 0, 0); }).find("permute 0"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { permutation(n); }).find("no element"), std::string::npos);
}

}  // namespace
}  // namespace midfill
