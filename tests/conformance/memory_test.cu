// Loads and stores with a hint, prefetch, and adds that return nothing.
#include <cmath>
#include <limits>

#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

template <typename T>
__global__ void copy(const T* from, int n, T* to) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  ptx::prefetch_l2(from + n - 1 - i);
  ptx::store_once(to + n - 1 - i, ptx::load_once(from + i));
}

// Every thread adds its value to the bin i % bins.
__global__ void add(const float* values, int n, int bins, float* sums) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) ptx::red_add(sums + i % bins, values[i]);
}

class Memory : public Conformance {
 protected:
  template <typename T>
  void check_copy(int n) {
    std::vector<T> source(n);
    const std::vector<uint16_t> bits = random_halves(n * sizeof(T) / 2, 10);
    std::memcpy(source.data(), bits.data(), n * sizeof(T));
    run([&] {
      Array<T> from(source), to(n);
      launch<copy<T>>({.grid = (n + 63u) / 64, .block = 64}, from.data(), n, to.data());
      std::vector<T> got = to.host();
      for (int i = 0; i < n; ++i)
        EXPECT_EQ(std::memcmp(&got[i], &source[n - 1 - i], sizeof(T)), 0) << "element " << i;
    });
  }
};

TEST_F(Memory, EveryBitArrives) {
  for (const int n : {1, 64, 333}) {
    check_copy<float>(n);
    check_copy<float2>(n);
    check_copy<uint4>(n);
  }
}

TEST_F(Memory, AddsAreAtomic) {
  constexpr int kValues = 1000;
  std::vector<float> values(kValues);
  for (int i = 0; i < kValues; ++i) values[i] = static_cast<float>(i % 64 - 20);  // sums are exact
  run([&] {
    for (const int bins : {1, 7, 256}) {
      std::vector<float> expected(bins, 0.5f);
      for (int i = 0; i < kValues; ++i) expected[i % bins] += values[i];
      Array<float> in(values), sums(std::vector<float>(bins, 0.5f));
      launch<add>({.grid = 8, .block = 128}, in.data(), kValues, bins, sums.data());
      EXPECT_EQ(sums.host(), expected) << bins << " bins";
    }
  });
}

TEST_F(Memory, AddsOfInfinityAndNan) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  run([&] {
    Array<float> in(std::vector<float>{kInf, kInf, NAN, 1});
    Array<float> sums(std::vector<float>{1, -kInf, 1, NAN});
    launch<add>({.grid = 1, .block = 32}, in.data(), 4, 4, sums.data());
    const std::vector<float> got = sums.host();
    EXPECT_EQ(got[0], kInf);
    EXPECT_TRUE(std::isnan(got[1]));
    EXPECT_TRUE(std::isnan(got[2]));
    EXPECT_TRUE(std::isnan(got[3]));
  });
}

}  // namespace
}  // namespace midfill::test
