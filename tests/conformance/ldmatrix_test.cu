// ldmatrix: which element of which row arrives in which register of which lane.
#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

constexpr int kHalves = 4096;  // 8 KB of shared memory, all 16-bit values different

template <int kCount, bool kTransposed>
__global__ void load(const uint16_t* memory, const int* offsets, uint32_t* registers) {
  SIMT_SHARED(uint4, shared, [kHalves / 8]);
  const int lane = threadIdx.x;
  for (int i = lane; i < kHalves / 8; i += 32)
    shared[i] = reinterpret_cast<const uint4*>(memory)[i];
  __syncthreads();
  const auto* row = reinterpret_cast<const uint16_t*>(shared) + offsets[lane];
  uint32_t r[kCount];
  if constexpr (kTransposed)
    ptx::ldmatrix_trans(r, row);
  else
    ptx::ldmatrix(r, row);
  for (int m = 0; m < kCount; ++m) registers[lane * kCount + m] = r[m];
}

class Ldmatrix : public Conformance {
 protected:
  // offsets: where each lane's row starts, in elements.
  template <int kCount, bool kTransposed>
  void check(const std::vector<int>& offsets) {
    std::vector<uint16_t> memory(kHalves);
    for (int i = 0; i < kHalves; ++i) memory[i] = static_cast<uint16_t>(i * 15 + 0x7f80);
    run([&] {
      Array<uint16_t> source(memory);
      Array<int> where(offsets);
      Array<uint32_t> registers(32 * kCount);
      launch<load<kCount, kTransposed>>({.grid = 1, .block = 32}, source.data(), where.data(),
                                        registers.data());
      const std::vector<uint32_t> got = registers.host();
      for (int lane = 0; lane < 32; ++lane)
        for (int m = 0; m < kCount; ++m)
          for (int half = 0; half < 2; ++half) {
            const int i = kTransposed ? lane % 4 * 2 + half : lane / 4;
            const int j = kTransposed ? lane / 4 : lane % 4 * 2 + half;
            EXPECT_EQ(got[lane * kCount + m] >> 16 * half & 0xffff, memory[offsets[8 * m + i] + j])
                << "lane " << lane << ", register " << m << ", half " << half;
          }
    });
  }

  void check_all(const std::vector<int>& offsets) {
    check<1, false>(offsets);
    check<2, false>(offsets);
    check<4, false>(offsets);
    check<1, true>(offsets);
    check<2, true>(offsets);
    check<4, true>(offsets);
  }
};

TEST_F(Ldmatrix, RowsInOrder) {
  std::vector<int> offsets(32);
  for (int lane = 0; lane < 32; ++lane) offsets[lane] = 8 * lane;
  check_all(offsets);
}

TEST_F(Ldmatrix, RowsInTheSameBanks) {
  std::vector<int> offsets(32);
  for (int lane = 0; lane < 32; ++lane) offsets[lane] = 64 * lane;
  check_all(offsets);
}

TEST_F(Ldmatrix, PaddedRows) {
  std::vector<int> offsets(32);
  for (int lane = 0; lane < 32; ++lane) offsets[lane] = 72 * (lane % 16) + lane / 16 * 8;
  check_all(offsets);
}

TEST_F(Ldmatrix, ScatteredAndRepeatedRows) {
  Rng rng(1, Purpose::kTest);
  std::vector<int> offsets(32);
  for (int& offset : offsets) offset = static_cast<int>(rng.below(kHalves / 8)) * 8;
  check_all(offsets);
  check_all(std::vector<int>(32, kHalves - 8));
}

}  // namespace
}  // namespace midfill::test
