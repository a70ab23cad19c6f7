// The functions of runtime.h: launches, and what a kernel asks of the block it runs in.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "kernels/simt/block.h"
#include "kernels/simt/memory.h"
#include "kernels/simt/place.h"
#include "kernels/simt/tsan.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace midfill::simt {
namespace {

Options options_from_environment() {
  Options options;
  const char* variable = std::getenv("MIDFILL_SIMT");
  const std::string_view text = variable ? variable : "ascending";
  constexpr std::string_view kRandom = "random:";
  if (text == "ascending") return options;
  if (text == "descending") {
    options.schedule = Schedule::descending;
    return options;
  }
  const char* end = text.data() + text.size();
  require(text.starts_with(kRandom) &&
              std::from_chars(text.data() + kRandom.size(), end, options.seed).ptr == end &&
              text.size() > kRandom.size(),
          "MIDFILL_SIMT: expected ascending, descending or random:<seed>, found \"{}\"", text);
  options.schedule = Schedule::random;
  return options;
}

void check_limits(const dim3& grid, const dim3& block, size_t shared_bytes, const Site& site) {
  auto at_most = [&](const char* what, uint64_t found, uint64_t limit) {
    require(found >= 1 && found <= limit, "{}: launch: expected 1 to {} {}, found {}",
            describe(site), limit, what, found);
  };
  at_most("threads in block.x", block.x, kMaxThreads);
  at_most("threads in block.y", block.y, kMaxThreads);
  at_most("threads in block.z", block.z, 64);
  at_most("threads in a block", uint64_t{block.x} * block.y * block.z, kMaxThreads);
  at_most("blocks in grid.x", grid.x, 0x7fffffff);
  at_most("blocks in grid.y", grid.y, 65535);
  at_most("blocks in grid.z", grid.z, 65535);
  require(shared_bytes <= kMaxSharedBytes,
          "{}: launch: expected at most {} bytes of shared memory, found {}", describe(site),
          kMaxSharedBytes, shared_bytes);
}

// The order in which blocks run: from the first, from the last, or a walk of random stride that
// comes to each once and needs no table, however large the grid is.
struct BlockOrder {
  uint64_t first = 0, stride = 1;

  BlockOrder(uint64_t blocks, Schedule schedule, Rng& rng) {
    if (schedule == Schedule::descending) {
      first = stride = blocks - 1;
    } else if (schedule == Schedule::random) {
      first = rng.below(blocks);
      do stride = 1 + rng.below(blocks);
      while (std::gcd(stride, blocks) != 1);
    }
  }
};

}  // namespace

Options& options() {
  static Options options = options_from_environment();
  return options;
}

void launch(dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(void*), void* context,
            Site site) {
  check_limits(grid, block, shared_bytes, site);
  Block& runner = running_block();
  require(!runner.running(), "{}: launch: a kernel is running already", describe(site));
  const Options& o = options();
  Rng rng(o.seed, Purpose::kTest);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  const BlockOrder order(blocks, o.schedule, rng);
  runner.banks.begin_launch();
  runner.checker.begin_launch();
  blockDim = block;
  gridDim = grid;
  try {
    for (uint64_t k = 0, b = order.first; k < blocks; ++k, b = (b + order.stride) % blocks) {
      blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                  static_cast<unsigned>(b / grid.x / grid.y)};
      runner.run({block, shared_bytes, thread, context, o.schedule}, rng);
    }
    check_allocations();
  } catch (const Error& e) {
    fail("{}, in the launch of {}", e.what(), describe(site));
  }
}

void stop(const std::string& what, Site site) {
  fail("{}: {}", describe(site), what);
}

void* static_shared(const void* key, size_t bytes, size_t alignment) {
  return running_block().shared.variable(key, bytes, alignment);
}

void* dynamic_shared_bytes() {
  return running_block().shared.dynamic();
}

uint32_t shared_address(const void* p, Site site) {
  const SharedMemory& shared = running_block().shared;
  if (!shared.in_variable(p, 1)) stop("an address outside of every shared variable", site);
  return static_cast<uint32_t>(static_cast<const char*>(p) - shared.bytes().data());
}

void block_barrier(Site site) {
  running_block().barrier(0, 0, true, true, site);
}

void barrier_sync(int id, int threads, Site site) {
  running_block().barrier(id, threads, true, false, site);
}

void barrier_arrive(int id, int threads, Site site) {
  running_block().barrier(id, threads, false, false, site);
}

int thread_index() {
  return running_block().thread();
}

int lane() {
  return thread_index() % kWarp;
}

void collective(unsigned mask, const char* what, void* operands,
                void (*compute)(void* const*, unsigned, const Site&), bool ordered, Site site) {
  running_block().collective(mask, what, operands, compute, ordered, site);
}

void memory_access(int lane, const void* p, size_t bytes, Access access, const Site& site) {
  Block& block = running_block();
  if (tsan::active)
    block.access(block.thread() / kWarp * kWarp + lane, p, bytes, access, place_of(site));
}

void matrix_access(const void* const* rows, int count, Access access, const Site& site) {
  constexpr int kRows = 8;
  constexpr size_t kRowBytes = 16;
  Block& block = running_block();
  for (int i = 0; i < kRows * count; ++i) {
    if (reinterpret_cast<uintptr_t>(rows[i]) % kRowBytes != 0)
      stop(fmt::format("lane {}: a matrix row that is not 16-byte aligned", i), site);
    if (!block.shared.in_variable(rows[i], kRowBytes))
      stop(fmt::format("lane {}: a matrix row outside of every shared variable", i), site);
    memory_access(i, rows[i], kRowBytes, access, site);
  }
  if (!options().count_banks) return;
  for (int m = 0; m < count; ++m) {
    std::array<uint32_t, kRows> offsets;
    for (int r = 0; r < kRows; ++r) offsets[r] = shared_address(rows[kRows * m + r], site);
    block.banks.rows(offsets, place_of(site));
  }
}

void copy_async(void* to, const void* from, int bytes, int source_bytes, Site site) {
  running_block().copy(to, from, bytes, source_bytes, site);
}

void copy_async_commit() {
  running_block().copy_commit();
}

void copy_async_wait(int groups_in_flight) {
  running_block().copy_wait(groups_in_flight);
}

std::vector<BankUse> bank_use() {
  return running_block().banks.report();
}

}  // namespace midfill::simt
