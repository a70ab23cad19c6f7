// cp.async: sizes, zero fill, and groups.
#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

constexpr int kCopies = 96;

// Copy i brings source_bytes[i] bytes from slot from[i] of the memory to slot to[i] of the tile.
template <int kBytes>
__global__ void copy(const uint8_t* memory, const int* from, const int* to, const int* source_bytes,
                     uint8_t* result) {
  SIMT_SHARED(uint4, shared, [kCopies]);
  auto* tile = reinterpret_cast<uint8_t*>(shared);
  const int i = threadIdx.x;
  shared[i] = make_uint4(0xabababab, 0xabababab, 0xabababab, 0xabababab);
  __syncthreads();
  ptx::cp_async<kBytes>(tile + to[i] * kBytes, memory + from[i] * kBytes, source_bytes[i]);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncthreads();
  for (int b = 0; b < kBytes; ++b) result[i * kBytes + b] = tile[i * kBytes + b];
}

// A ring of kStages tiles, each thread reading what its neighbour copied: sums `tiles` tiles.
template <int kStages>
__global__ void sum_tiles(const float* memory, int tiles, float* sums) {
  SIMT_SHARED(float, ring, [kStages][128]);
  const int i = threadIdx.x;
  const auto start = [&](int tile) {
    if (tile < tiles) ptx::cp_async<4>(&ring[tile % kStages][i], memory + tile * 128 + i);
    ptx::cp_async_commit();  // at the end empty, so that the count of groups stays
  };
  for (int tile = 0; tile < kStages - 1; ++tile) start(tile);
  float sum = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // the tile is here for all, and all are done with the one before
    start(tile + kStages - 1);
    sum += ring[tile % kStages][(i + 1) % 128];
  }
  ptx::cp_async_wait<0>();
  sums[i] = sum;
}

// The first group has landed although the second need not have.
__global__ void wait_for_first(const uint4* memory, uint4* result) {
  SIMT_SHARED(uint4, tile, [2][32]);
  const int i = threadIdx.x;
  ptx::cp_async<16>(&tile[0][i], memory + i);
  ptx::cp_async_commit();
  ptx::cp_async<16>(&tile[1][i], memory + 32 + i);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  result[i] = tile[0][i];
  ptx::cp_async_wait<0>();
  result[32 + i] = tile[1][i];
}

class CpAsync : public Conformance {
 protected:
  template <int kBytes>
  void check_copy(bool partial) {
    constexpr int kSlots = 300;
    std::vector<uint8_t> memory;
    for (const uint16_t v : random_halves(kSlots * kBytes / 2, 3)) {
      memory.push_back(static_cast<uint8_t>(v));
      memory.push_back(static_cast<uint8_t>(v >> 8));
    }
    Rng rng(4, Purpose::kTest);
    std::vector<int> from(kCopies), to(kCopies), bytes(kCopies, kBytes);
    for (int i = 0; i < kCopies; ++i) {
      from[i] = static_cast<int>(rng.below(kSlots));
      to[i] = i * 5 % kCopies;
      if (partial) bytes[i] = i % (kBytes + 1);
      if (bytes[i] == 0) from[i] = kSlots;  // one past the end, which is not read
    }
    run([&] {
      Array<uint8_t> source(memory), result(kCopies * kBytes);
      Array<int> from_slots(from), to_slots(to), source_bytes(bytes);
      launch<copy<kBytes>>({.grid = 1, .block = kCopies}, source.data(), from_slots.data(),
                           to_slots.data(), source_bytes.data(), result.data());
      const std::vector<uint8_t> got = result.host();
      for (int i = 0; i < kCopies; ++i)
        for (int b = 0; b < kBytes; ++b)
          EXPECT_EQ(got[to[i] * kBytes + b], b < bytes[i] ? memory[from[i] * kBytes + b] : 0)
              << "copy " << i << " of " << bytes[i] << " bytes, byte " << b;
    });
  }

  template <int kStages>
  void check_ring(int tiles) {
    std::vector<float> memory(tiles * 128);
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i * 37 % 1009);
    run([&] {
      Array<float> source(memory), result(128);
      launch<sum_tiles<kStages>>({.grid = 1, .block = 128}, source.data(), tiles, result.data());
      const std::vector<float> got = result.host();
      for (int i = 0; i < 128; ++i) {
        float sum = 0;
        for (int tile = 0; tile < tiles; ++tile) sum += memory[tile * 128 + (i + 1) % 128];
        EXPECT_EQ(got[i], sum) << "thread " << i << ", " << tiles << " tiles";
      }
    });
  }
};

TEST_F(CpAsync, WholeCopies) {
  check_copy<4>(false);
  check_copy<8>(false);
  check_copy<16>(false);
}

TEST_F(CpAsync, ZerosBehindPartOfACopy) {
  check_copy<4>(true);
  check_copy<8>(true);
  check_copy<16>(true);
}

TEST_F(CpAsync, RingOfTiles) {
  for (const int tiles : {1, 2, 7}) {
    check_ring<2>(tiles);
    check_ring<3>(tiles);
    check_ring<4>(tiles);
  }
}

TEST_F(CpAsync, OlderGroupsLandFirst) {
  std::vector<uint4> memory(64);
  for (unsigned i = 0; i < 64; ++i) memory[i] = make_uint4(i, ~i, i * 3, 0x7fc00000 + i);
  run([&] {
    Array<uint4> source(memory), result(64);
    launch<wait_for_first>({.grid = 1, .block = 32}, source.data(), result.data());
    const std::vector<uint4> got = result.host();
    EXPECT_EQ(std::memcmp(got.data(), memory.data(), 64 * sizeof(uint4)), 0);
  });
}

}  // namespace
}  // namespace midfill::test
