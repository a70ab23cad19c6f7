// What kernels use of CUDA itself and the emulation therefore has under the same names: shuffles,
// votes, exchange through shared memory, atomics, bit counts, bf16 conversions.
#include <algorithm>
#include <bit>
#include <numeric>

#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

enum class Kind { kIndex, kUp, kDown, kXor };

template <typename T, Kind kKind>
__global__ void shuffle(const T* in, const int* arguments, int width, T* out) {
  const int lane = threadIdx.x;
  const T mine = in[lane];
  // Up, down and xor take the same argument in all lanes, an index may differ.
  if constexpr (kKind == Kind::kIndex)
    out[lane] = __shfl_sync(0xffffffffu, mine, arguments[lane], width);
  else if constexpr (kKind == Kind::kUp)
    out[lane] = __shfl_up_sync(0xffffffffu, mine, arguments[0], width);
  else if constexpr (kKind == Kind::kDown)
    out[lane] = __shfl_down_sync(0xffffffffu, mine, arguments[0], width);
  else
    out[lane] = __shfl_xor_sync(0xffffffffu, mine, arguments[0], width);
}

// The lane that a lane reads ("Warp Shuffle Functions" of the CUDA C++ Programming Guide): lanes
// form segments of `width`; who would read beyond its own segment reads itself, except that xor
// may reach an earlier segment.
int source_lane(Kind kind, int lane, int argument, int width) {
  const int first = lane / width * width, last = first + width - 1;
  switch (kind) {
    case Kind::kIndex:
      return first + (argument % width + width) % width;
    case Kind::kUp:
      return lane - argument < first ? lane : lane - argument;
    case Kind::kDown:
      return lane + argument > last ? lane : lane + argument;
    case Kind::kXor:
      return (lane ^ argument) > last ? lane : lane ^ argument;
  }
  return lane;
}

// All vote; then half of the warp votes among itself, and the rest stays out.
__global__ void vote(unsigned pattern, unsigned* out) {
  const int lane = threadIdx.x;
  const int mine = static_cast<int>(pattern >> lane & 1);
  out[96 + lane] = __ballot_sync(0xffffffffu, mine);
  if (lane < 16) {
    out[lane] = __ballot_sync(0xffffu, mine);
    out[32 + lane] = static_cast<unsigned>(__any_sync(0xffffu, mine) != 0);
    out[64 + lane] = static_cast<unsigned>(__all_sync(0xffffu, mine) != 0);
  } else {
    out[lane] = out[32 + lane] = out[64 + lane] = 7;
  }
}

// Each warp reverses its 32 numbers through its part of shared memory.
__global__ void exchange(const int* in, int* out) {
  SIMT_SHARED(int, numbers, [4][32]);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int round = 0; round < 3; ++round) {
    numbers[warp][lane] = in[threadIdx.x] + round;
    __syncwarp();
    out[threadIdx.x] = numbers[warp][31 - lane];
    __syncwarp();
  }
}

struct Totals {
  int add, max, min, swapped;
  unsigned long long add_long;
  float add_float;
  double add_double;
};

__global__ void accumulate(Totals* totals, int* tickets, int* exchanged) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  tickets[i] = atomicAdd(&totals->add, 1);
  atomicMax(&totals->max, i * 37 % 101);
  atomicMin(&totals->min, i * 37 % 101);
  atomicAdd(&totals->add_long, 1ull << 33);
  atomicAdd(&totals->add_float, 0.5f);
  atomicAdd(&totals->add_double, 0.25);
  exchanged[i] = atomicExch(&totals->swapped, i);
}

__global__ void count_bits(const unsigned* in, int n, int* ones, int* zeros, int* first) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  ones[i] = __popc(in[i]);
  zeros[i] = __clz(static_cast<int>(in[i]));
  first[i] = __ffs(static_cast<int>(in[i]));
}

// CUDA's own conversions agree with ptx::pack_bf16x2, which scalar_test.cu compares with the
// definition.
__global__ void convert(const float* in, int n, uint32_t* packed, uint32_t* expected) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  const __nv_bfloat162 both = __floats2bfloat162_rn(in[i], in[n - 1 - i]);
  packed[i] = __bfloat16_as_ushort(both.x) | uint32_t{__bfloat16_as_ushort(both.y)} << 16;
  expected[i] = ptx::pack_bf16x2(__bfloat162float(__float2bfloat16(in[i])), in[n - 1 - i]);
}

class Warp : public Conformance {
 protected:
  template <typename T, Kind kKind>
  void check_shuffle() {
    std::vector<T> values(32);
    for (int lane = 0; lane < 32; ++lane) values[lane] = static_cast<T>(1e6 * lane + 0.25);
    Rng rng(12, Purpose::kTest);
    for (const int width : {1, 2, 4, 8, 16, 32})
      for (const int argument : {0, 1, 3, 5, 16, 31}) {
        std::vector<int> arguments(32, argument);
        if (kKind == Kind::kIndex)
          for (int& a : arguments) a = static_cast<int>(rng.below(64));
        Array<T> in(values), out(32);
        Array<int> where(arguments);
        launch<shuffle<T, kKind>>({.grid = 1, .block = 32}, in.data(), where.data(), width,
                                  out.data());
        const std::vector<T> got = out.host();
        for (int lane = 0; lane < 32; ++lane)
          EXPECT_EQ(got[lane], values[source_lane(kKind, lane, arguments[lane], width)])
              << "kind " << static_cast<int>(kKind) << ", lane " << lane << ", argument "
              << arguments[lane] << ", width " << width;
      }
  }
};

TEST_F(Warp, Shuffles) {
  run([&] {
    check_shuffle<int, Kind::kIndex>();
    check_shuffle<float, Kind::kUp>();
    check_shuffle<double, Kind::kDown>();
    check_shuffle<unsigned long long, Kind::kXor>();
  });
}

TEST_F(Warp, Votes) {
  run([&] {
    for (const unsigned pattern : {0u, 0xffffffffu, 0xffffu, 0x12345678u, 0xffff0000u}) {
      Array<unsigned> out(128);
      launch<vote>({.grid = 1, .block = 32}, pattern, out.data());
      const std::vector<unsigned> got = out.host();
      for (int lane = 0; lane < 32; ++lane) {
        const unsigned half = pattern & 0xffffu;
        EXPECT_EQ(got[lane], lane < 16 ? half : 7);
        EXPECT_EQ(got[32 + lane], lane < 16 ? unsigned{half != 0} : 7);
        EXPECT_EQ(got[64 + lane], lane < 16 ? unsigned{half == 0xffffu} : 7);
        EXPECT_EQ(got[96 + lane], pattern);
      }
    }
  });
}

TEST_F(Warp, ExchangeThroughSharedMemory) {
  std::vector<int> values(128), expected(128);
  for (int i = 0; i < 128; ++i) {
    values[i] = i * i;
    expected[i / 32 * 32 + 31 - i % 32] = i * i + 2;
  }
  run([&] {
    Array<int> in(values), out(128);
    launch<exchange>({.grid = 1, .block = 128}, in.data(), out.data());
    EXPECT_EQ(out.host(), expected);
  });
}

TEST_F(Warp, Atomics) {
  constexpr int kThreads = 6 * 64;
  run([&] {
    Array<Totals> totals(std::vector<Totals>{{0, 50, 50, -1, 5, 0, 0}});
    Array<int> tickets(kThreads), exchanged(kThreads);
    launch<accumulate>({.grid = 6, .block = 64}, totals.data(), tickets.data(), exchanged.data());
    const Totals got = totals.host()[0];
    EXPECT_EQ(got.add, kThreads);
    EXPECT_EQ(got.max, 100);
    EXPECT_EQ(got.min, 0);
    EXPECT_EQ(got.add_long, 5 + (kThreads * 1ull << 33));
    EXPECT_EQ(got.add_float, kThreads * 0.5f);
    EXPECT_EQ(got.add_double, kThreads * 0.25);
    // Each thread drew another ticket; what was put in came out once, but for the last.
    std::vector<int> all(kThreads), drawn = tickets.host(), passed = exchanged.host();
    std::iota(all.begin(), all.end(), 0);
    std::sort(drawn.begin(), drawn.end());
    EXPECT_EQ(drawn, all);
    *std::find(passed.begin(), passed.end(), -1) = got.swapped;
    std::sort(passed.begin(), passed.end());
    EXPECT_EQ(passed, all);
  });
}

TEST_F(Warp, BitCounts) {
  std::vector<unsigned> values = {0, 1, 2, 0x80000000u, 0xffffffffu, 0x00010000u, 0x12345678u};
  Rng rng(13, Purpose::kTest);
  for (int i = 0; i < 100; ++i) values.push_back(rng.bits32() >> i % 32);
  const int n = static_cast<int>(values.size());
  run([&] {
    Array<unsigned> in(values);
    Array<int> ones(n), zeros(n), first(n);
    launch<count_bits>({.grid = 1, .block = 128}, in.data(), n, ones.data(), zeros.data(),
                       first.data());
    const std::vector<int> got_ones = ones.host(), got_zeros = zeros.host(), got = first.host();
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(got_ones[i], std::popcount(values[i]));
      EXPECT_EQ(got_zeros[i], std::countl_zero(values[i]));
      EXPECT_EQ(got[i], values[i] == 0 ? 0 : std::countr_zero(values[i]) + 1);
    }
  });
}

TEST_F(Warp, Bf16Conversions) {
  std::vector<float> values = {0.0f, -0.0f, 1.0f, 3.4e38f, -INFINITY, NAN, 1e-40f};
  Rng rng(14, Purpose::kTest);
  for (int i = 0; i < 500; ++i) {
    const uint32_t bits = rng.bits32();
    float x;
    std::memcpy(&x, &bits, sizeof x);
    values.push_back(x);
  }
  const int n = static_cast<int>(values.size());
  run([&] {
    Array<float> in(values);
    Array<uint32_t> packed(n), expected(n);
    launch<convert>({.grid = (n + 127u) / 128, .block = 128}, in.data(), n, packed.data(),
                    expected.data());
    EXPECT_EQ(packed.host(), expected.host());
  });
}

}  // namespace
}  // namespace midfill::test
