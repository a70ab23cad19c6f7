// bar.sync and bar.arrive: barriers of part of a block, and producers that do not wait.
#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

constexpr int kPart = 64;  // threads of each half of the block

// Each half of the block meets at its own barrier, the second more often; each round a thread
// adds what its neighbour in the half had.
__global__ void halves(const int* start, int rounds, int first_id, int* result) {
  SIMT_SHARED(int, values, [2][2 * kPart]);
  const int half = threadIdx.x / kPart, i = threadIdx.x % kPart;
  const int id = first_id + half;
  int mine = start[threadIdx.x];
  for (int round = 0; round < rounds * (half + 1); ++round) {
    int* buffer = values[round % 2] + half * kPart;
    buffer[i] = mine;
    ptx::bar_sync(id, kPart);
    mine += buffer[(i + 1) % kPart];
  }
  result[threadIdx.x] = mine;
}

// The first half produces, the second consumes, through a ring of two buffers: `full` barriers 1
// and 2, `empty` barriers 3 and 4.
__global__ void pipe(const int* items, int rounds, int* result) {
  SIMT_SHARED(int, ring, [2][kPart]);
  const int i = threadIdx.x % kPart;
  if (threadIdx.x < kPart) {
    for (int round = 0; round < rounds; ++round) {
      if (round >= 2) ptx::bar_sync(3 + round % 2, 2 * kPart);
      ring[round % 2][i] = items[round * kPart + i];
      ptx::bar_arrive(1 + round % 2, 2 * kPart);
    }
  } else {
    for (int round = 0; round < rounds; ++round) {
      ptx::bar_sync(1 + round % 2, 2 * kPart);
      result[round * kPart + i] = ring[round % 2][kPart - 1 - i];
      if (round + 2 < rounds) ptx::bar_arrive(3 + round % 2, 2 * kPart);
    }
  }
}

using Barrier = Conformance;

TEST_F(Barrier, HalvesOfABlock) {
  constexpr int kRounds = 3;
  std::vector<int> start(2 * kPart);
  for (int i = 0; i < 2 * kPart; ++i) start[i] = i * i % 101;
  std::vector<int> expected = start;
  for (int half = 0; half < 2; ++half)
    for (int round = 0; round < kRounds * (half + 1); ++round) {
      const std::vector<int> before = expected;
      for (int i = 0; i < kPart; ++i)
        expected[half * kPart + i] += before[half * kPart + (i + 1) % kPart];
    }
  run([&] {
    for (int first_id = 1; first_id <= 14; ++first_id) {
      Array<int> source(start), result(2 * kPart);
      launch<halves>({.grid = 1, .block = 2 * kPart}, source.data(), kRounds, first_id,
                     result.data());
      EXPECT_EQ(result.host(), expected) << "barriers " << first_id << " and " << first_id + 1;
    }
  });
}

TEST_F(Barrier, ProducerArrivesConsumerWaits) {
  run([&] {
    for (const int rounds : {1, 2, 3, 9}) {
      std::vector<int> items(rounds * kPart), expected(rounds * kPart);
      for (int round = 0; round < rounds; ++round)
        for (int i = 0; i < kPart; ++i) {
          items[round * kPart + i] = round * 1000 + i;
          expected[round * kPart + kPart - 1 - i] = round * 1000 + i;
        }
      Array<int> source(items), result(rounds * kPart);
      launch<pipe>({.grid = 1, .block = 2 * kPart}, source.data(), rounds, result.data());
      EXPECT_EQ(result.host(), expected) << rounds << " rounds";
    }
  });
}

}  // namespace
}  // namespace midfill::test
