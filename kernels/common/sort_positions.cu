// Radix sort, a digit of 8 bits a pass, the lowest first. Each warp has a chunk of the ids: it
// counts its digits, the counts of all chunks become places, and it takes the ids there in their
// order.
#include "kernels/common/sort_positions.cuh"

#include <bit>

namespace midfill {

namespace {

constexpr int kDigits = 256, kDigitBits = 8;
constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int64_t kChunk = 512;  // ids of a warp
constexpr unsigned kAll = 0xffffffffu;

int64_t chunks_of(int64_t n) {
  return (n + kChunk - 1) / kChunk;
}

struct Pass {
  const int32_t *ids, *positions;  // in; without positions, those are 0, 1, 2 ...
  int64_t n, chunks;
  int32_t limit;
  int shift;  // of the digit

  __device__ int32_t id(int64_t i) const {
    const int32_t id = ids[i];
    return 0 <= id && id < limit ? id : limit;
  }
  __device__ int digit(int32_t id) const { return id >> shift & (kDigits - 1); }
};

// Runs body(i, id, digit, peers) for 32 ids of the warp's chunk after another; peers are the lanes
// with the same digit. Lanes beyond the end have no peers.
template <typename Body>
__device__ __forceinline__ void for_each_32(const Pass& pass, int64_t chunk, const Body& body) {
  const int lane = threadIdx.x % 32;
  for (int64_t first = chunk * kChunk; first < min((chunk + 1) * kChunk, pass.n); first += 32) {
    const int64_t i = first + lane;
    const bool inside = i < pass.n;
    const int32_t id = inside ? pass.id(i) : 0;
    const int digit = pass.digit(id);
    unsigned peers = __ballot_sync(kAll, inside);
    SIMT_UNROLL
    for (int bit = 0; bit < kDigitBits; ++bit) {
      const bool set = digit >> bit & 1;
      const unsigned with = __ballot_sync(kAll, set);
      peers &= set ? with : ~with;
    }
    body(i, id, digit, inside ? peers : 0u);
    __syncwarp();
  }
}

// counts[digit][chunk]: how many ids of the chunk have the digit.
__global__ void __launch_bounds__(kThreads) count_digits(Pass pass, int32_t* counts) {
  SIMT_SHARED(int32_t, found, [kWarps][kDigits]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t chunk = int64_t{blockIdx.x} * kWarps + warp;
  if (chunk >= pass.chunks) return;
  for (int d = lane; d < kDigits; d += 32) found[warp][d] = 0;
  __syncwarp();
  for_each_32(pass, chunk, [&](int64_t, int32_t, int digit, unsigned peers) {
    if (peers != 0 && __ffs(peers) - 1 == lane) found[warp][digit] += __popc(peers);
  });
  for (int d = lane; d < kDigits; d += 32) counts[d * pass.chunks + chunk] = found[warp][d];
}

// Each count becomes the sum of all before it. One block, a thread a digit.
__global__ void __launch_bounds__(kDigits) add_counts(int32_t* counts, int64_t chunks) {
  SIMT_SHARED(int32_t, warp_totals, [kDigits / 32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int32_t* mine = counts + threadIdx.x * chunks;
  int32_t total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += mine[c];
  int32_t sum = total;  // of the digits up to this one, in the warp
  SIMT_UNROLL
  for (int by = 1; by < 32; by *= 2) {
    const int32_t before = __shfl_up_sync(kAll, sum, by);
    if (lane >= by) sum += before;
  }
  if (lane == 31) warp_totals[warp] = sum;
  __syncthreads();
  int32_t place = sum - total;
  for (int w = 0; w < warp; ++w) place += warp_totals[w];
  for (int64_t c = 0; c < chunks; ++c) {
    const int32_t count = mine[c];
    mine[c] = place;
    place += count;
  }
}

__global__ void __launch_bounds__(kThreads)
    scatter(Pass pass, const int32_t* places, int32_t* ids, int32_t* positions) {
  SIMT_SHARED(int32_t, next, [kWarps][kDigits]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t chunk = int64_t{blockIdx.x} * kWarps + warp;
  if (chunk >= pass.chunks) return;
  for (int d = lane; d < kDigits; d += 32) next[warp][d] = places[d * pass.chunks + chunk];
  __syncwarp();
  for_each_32(pass, chunk, [&](int64_t i, int32_t id, int digit, unsigned peers) {
    const int32_t first = next[warp][digit];
    __syncwarp();
    if (peers == 0) return;
    const int before = __popc(peers & ((1u << lane) - 1));
    ids[first + before] = id;
    positions[first + before] = pass.positions ? pass.positions[i] : static_cast<int32_t>(i);
    if (before == 0) next[warp][digit] = first + __popc(peers);
  });
}

}  // namespace

size_t sort_bytes(int64_t n) {
  return static_cast<size_t>(4 * n + kDigits * chunks_of(n)) * sizeof(int32_t);
}

SortedPositions sort_positions(Cuda& cuda, const int32_t* ids, int64_t n, int32_t limit,
                               void* scratch) {
  auto* memory = static_cast<int32_t*>(scratch);
  int32_t* counts = memory + 4 * n;
  SortedPositions sorted{ids, nullptr};
  const int bits = std::bit_width(static_cast<uint32_t>(limit));
  for (int shift = 0, pair = 0; shift < bits; shift += kDigitBits, pair = 1 - pair) {
    const Pass pass{sorted.ids, sorted.positions, n, chunks_of(n), limit, shift};
    int32_t *to_ids = memory + 2 * pair * n, *to_positions = to_ids + n;
    const Launch over_chunks{
        .grid = blocks_of(pass.chunks, kWarps), .block = kThreads, .stream = stream_of(cuda)};
    launch<count_digits>(over_chunks, pass, counts);
    launch<add_counts>({.grid = 1, .block = kDigits, .stream = stream_of(cuda)}, counts,
                       pass.chunks);
    launch<scatter>(over_chunks, pass, counts, to_ids, to_positions);
    sorted = {to_ids, to_positions};
  }
  return sorted;
}

}  // namespace midfill
