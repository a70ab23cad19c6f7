// Runs CUDA kernels on a CPU, to prove them where there is no GPU: one fiber for each thread of a
// block, block after block, on the calling OS thread. What a GPU leaves undefined is made to show:
// shared memory starts as NaN, cp.async lands at the last legal moment, the schedule of threads and
// blocks can be ascending, descending or random, and misuse throws midfill::Error with file and
// line. Compiled with -fsanitize=thread (RACE of midfill_simt_kernels), every access of a kernel is
// checked as well. docs/simt.md says what is caught and what is not.
//
// Kernels include kernels/simt/simt.h; this file has what hosts and emulated twins of PTX use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/simt/types.h"

namespace midfill::simt {

using Site = std::source_location;

constexpr int kWarp = 32;
constexpr unsigned kFullMask = 0xffffffffu;
constexpr int kMaxThreads = 1024;                       // of a block
constexpr size_t kMaxSharedBytes = size_t{227} * 1024;  // of a block, static and dynamic
constexpr size_t kMaxStaticSharedBytes = size_t{48} * 1024;

// --- Launching

// Depth first: of the threads that can run, always the first (ascending) or the last (descending),
// so one warp runs ahead as far as synchronisation lets it; or any of them (random). The blocks of
// a grid run in that order too.
enum class Schedule { ascending, descending, random };

struct Options {
  Schedule schedule = Schedule::ascending;
  uint64_t seed = 1;         // of the random schedule
  bool count_banks = false;  // see bank_use
};
// Of the launches that follow. At first from the environment: MIDFILL_SIMT=ascending, descending or
// random:<seed>.
Options& options();

// Calls thread() as every thread of every block; returns when all are done. `shared_bytes` is the
// size of dynamic shared memory. Throws Error when a limit of the GPU is exceeded and when a check
// fails; the text names block, thread, file and line. The kernel's side effects up to there stay,
// and destructors of its locals may not have run. One launch at a time in a process.
void launch(dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(void*), void* context,
            Site site);
template <typename Thread>
void launch(dim3 grid, dim3 block, size_t shared_bytes, Thread&& thread,
            Site site = Site::current()) {
  launch(
      grid, block, shared_bytes, [](void* t) { (*static_cast<decltype(&thread)>(t))(); }, &thread,
      site);
}

// Ends the launch with Error from inside a kernel: "<site>: <what> ...".
[[noreturn]] void stop(const std::string& what, Site site);

// --- Memory

// Global memory: 256-byte aligned, all bytes 0xff (NaN). Writes just outside are found at the end
// of a launch; under AddressSanitizer and in race mode every access outside is found at once.
void* allocate(size_t bytes);
void release(void* memory);

// The variable of the running block that belongs to `key`; 0xff until written. For SIMT_SHARED.
void* static_shared(const void* key, size_t bytes, size_t alignment);
// Dynamic shared memory of the running block, 1024-byte aligned.
void* dynamic_shared_bytes();
// Offset in the block's shared memory: the 32-bit address of PTX. Stops when p is elsewhere.
uint32_t shared_address(const void* p, Site site);

// --- Synchronisation

// __syncthreads: every thread of the block, at one place in the source.
void block_barrier(Site site);
// bar.sync and bar.arrive: barrier `id` (0..15) opens when `threads` (a multiple of 32) threads
// have come; those of barrier_arrive do not wait.
void barrier_sync(int id, int threads, Site site = Site::current());
void barrier_arrive(int id, int threads, Site site = Site::current());

// --- Warp-wide operations

int thread_index();  // of the running thread in its block
int lane();

// All lanes of `mask` meet at one place; the last to come calls compute(lanes, mask) for all, where
// lanes[i] points at the operands of lane i (null when it takes no part) and results are written
// into them; then all go on. `ordered` makes it a point of memory order, as __syncwarp is.
void collective(unsigned mask, const char* what, void* operands,
                void (*compute)(void* const* lanes, unsigned mask, const Site& site), bool ordered,
                Site site);

// The same with types:
//   struct Ballot { bool vote; unsigned result; } b{vote, 0};
//   warp_collective<Ballot>(mask, "__ballot_sync", b, compute, site);
// where compute is a function void(Ballot* const* lanes, unsigned mask, const Site&), known when
// compiling.
template <auto compute, typename Operands>
void warp_collective(unsigned mask, const char* what, Operands& operands, Site site) {
  collective(
      mask, what, &operands,
      [](void* const* lanes, unsigned m, const Site& s) {
        Operands* typed[kWarp];
        for (int i = 0; i < kWarp; ++i) typed[i] = static_cast<Operands*>(lanes[i]);
        compute(typed, m, s);
      },
      false, site);
}

// --- Twins of memory instructions

// ldmatrix and stmatrix: `count` (1, 2 or 4) matrices of 8 rows of 16 bytes; rows[8 m + r] comes
// from that lane. Checks place, alignment and (in race mode) order, and counts bank conflicts; the
// twin moves the bytes itself. To be called in a collective's compute.
enum class Access : uint8_t { read, write, atomic };
void matrix_access(const void* const* rows, int count, Access access, const Site& site);

// An access that the twin makes for `lane` of the running thread's warp.
void memory_access(int lane, const void* p, size_t bytes, Access access, const Site& site);

// cp.async of 4, 8 or 16 bytes, of which the first `source_bytes` come from `from` and the rest are
// zero. Nothing is copied before the wait that this thread needs to see it; until then the bytes
// hold 0xff.
void copy_async(void* to, const void* from, int bytes, int source_bytes,
                Site site = Site::current());
void copy_async_commit();
void copy_async_wait(int groups_in_flight);  // lets that many of the youngest groups fly on

// --- Bank conflicts

// Of the last launch, one entry for each place in the source: how many warp-wide accesses, how many
// passes through the banks they took, and how many they need without conflicts. ldmatrix and
// stmatrix are counted always, other accesses of shared memory in race mode (exact where the warp
// stays together). Needs options().count_banks.
struct BankUse {
  std::string where;
  int64_t accesses, passes, needed;
};
std::vector<BankUse> bank_use();

}  // namespace midfill::simt
