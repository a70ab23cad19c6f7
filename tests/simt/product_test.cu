// A matrix product as real kernels do it: tiles by cp.async in two stages, swizzled, ldmatrix, mma.
// All parts together must work, be free of false alarms and of bank conflicts, and show each bug.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "kernels/common/check.h"
#include "kernels/common/ptx.h"

namespace midfill::simt {
namespace {

constexpr int kRows = 64, kColumns = 64, kInner = 160;  // one block of four warps
constexpr int kStep = 32, kChunk = 8;                   // elements of K: of a tile, of 16 bytes
using Element = __nv_bfloat16;

enum class Bug { none, no_barrier_after_wait, wait_too_weak, no_barrier_before_refill };

// Where a chunk of a row lies in a tile (64 x 32): any 8 rows of one column of chunks fall into
// different banks, if swizzled.
__device__ int position(int row, int chunk, bool swizzled) {
  return row * kStep + (swizzled ? chunk ^ (row / 2 % 4) : chunk) * kChunk;
}

// c (64 x 64) f32 = a (64 x 160) b^T, b (64 x 160), bf16.
__global__ void product(float* c, const Element* a, const Element* b, Bug bug, bool swizzled) {
  SIMT_SHARED(Element, tiles, [2][2][kRows * kStep]);  // stage, a or b
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  auto load = [&](int step) {
    if (step < kInner / kStep) {
      for (int i = thread; i < 2 * kRows * 4; i += 128) {
        const int which = i / (kRows * 4), row = i / 4 % kRows, chunk = i % 4;
        const Element* from = (which ? b : a) + row * kInner + step * kStep + chunk * kChunk;
        ptx::cp_async<16>(&tiles[step % 2][which][position(row, chunk, swizzled)], from);
      }
    }
    ptx::cp_async_commit();
  };
  float sums[kColumns / 8][4] = {};
  load(0);
  for (int step = 0; step < kInner / kStep; ++step) {
    load(step + 1);
    if (bug == Bug::wait_too_weak)
      ptx::cp_async_wait<2>();
    else
      ptx::cp_async_wait<1>();
    if (bug != Bug::no_barrier_after_wait) __syncthreads();
    const auto& [tile_a, tile_b] = tiles[step % 2];
    for (int k = 0; k < kStep / 16; ++k) {
      const int m = lane / 8, i = lane % 8;
      uint32_t left[4];
      ptx::ldmatrix(left, &tile_a[position(warp * 16 + m % 2 * 8 + i, 2 * k + m / 2, swizzled)]);
      for (int n = 0; n < kColumns / 8; n += 2) {
        uint32_t right[4];
        ptx::ldmatrix(right, &tile_b[position(n * 8 + m / 2 * 8 + i, 2 * k + m % 2, swizzled)]);
        ptx::mma_m16n8k16(sums[n], left, right[0], right[1]);
        ptx::mma_m16n8k16(sums[n + 1], left, right[2], right[3]);
      }
    }
    if (bug != Bug::no_barrier_before_refill) __syncthreads();
  }
  ptx::cp_async_wait<0>();
  for (int n = 0; n < kColumns / 8; ++n)
    for (int e = 0; e < 4; ++e)
      c[(warp * 16 + lane / 4 + e / 2 * 8) * kColumns + n * 8 + lane % 4 * 2 + e % 2] = sums[n][e];
}

// Small integers: every product and sum is exact.
float value(int row, int k) {
  return static_cast<float>((row * 7 + k * 3) % 11 - 5);
}

class Product : public testing::Test {
 protected:
  Product() {
    for (int row = 0; row < kRows; ++row)
      for (int k = 0; k < kInner; ++k) {
        a_[row * kInner + k] = Element(value(row, k));
        b_[row * kInner + k] = Element(value(row + 3, k));
      }
  }
  ~Product() override {
    options() = Options{};
    release(a_);
    release(b_);
  }

  // "" when the product is right.
  std::string outcome(Bug bug, bool swizzled = true) {
    auto* c = static_cast<float*>(allocate(kRows * kColumns * sizeof(float)));
    std::string wrong;
    try {
      launch(1, 128, 0, [&] { product(c, a_, b_, bug, swizzled); });
      for (int row = 0; row < kRows; ++row)
        for (int column = 0; column < kColumns; ++column) {
          float expected = 0.0f;
          for (int k = 0; k < kInner; ++k) expected += value(row, k) * value(column + 3, k);
          if (!(c[row * kColumns + column] == expected)) wrong = "wrong product";
        }
    } catch (const Error& e) {
      wrong = e.what();
    }
    release(c);
    return wrong;
  }

 private:
  Element* a_ = static_cast<Element*>(allocate(kRows * kInner * sizeof(Element)));
  Element* b_ = static_cast<Element*>(allocate(kColumns * kInner * sizeof(Element)));
};

const Options kSchedules[] = {{Schedule::ascending, 1, false},
                              {Schedule::descending, 1, false},
                              {Schedule::random, 1, false},
                              {Schedule::random, 2, false}};

TEST_F(Product, IsRightInAllSchedules) {
  for (const Options& o : kSchedules) {
    options() = o;
    EXPECT_EQ(outcome(Bug::none), "");
  }
}

TEST_F(Product, EachMissingBarrierShows) {
  for (const Bug bug :
       {Bug::no_barrier_after_wait, Bug::wait_too_weak, Bug::no_barrier_before_refill}) {
    size_t found = 0;
    for (const Options& o : kSchedules) {
      options() = o;
      found += !outcome(bug).empty();
    }
#if defined(__SANITIZE_THREAD__)
    EXPECT_EQ(found, std::size(kSchedules)) << static_cast<int>(bug);
#else
    EXPECT_GE(found, bug == Bug::no_barrier_before_refill ? 1 : std::size(kSchedules))
        << static_cast<int>(bug);
#endif
  }
}

TEST_F(Product, SwizzlingAvoidsBankConflicts) {
  for (const bool swizzled : {true, false}) {
    options().count_banks = true;
    ASSERT_EQ(outcome(Bug::none, swizzled), "");
    ASSERT_EQ(bank_use().size(), 2u);  // the two ldmatrix
    for (const BankUse& use : bank_use()) {
      EXPECT_GT(use.accesses, 0) << use.where;
      EXPECT_EQ(use.passes, use.needed * (swizzled ? 1 : 4)) << use.where;
    }
  }
}

}  // namespace
}  // namespace midfill::simt
