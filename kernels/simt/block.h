// The running block: its threads on fibers, who may run, and where the others wait.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/common/rng.h"
#include "kernels/simt/banks.h"
#include "kernels/simt/fiber.h"
#include "kernels/simt/race.h"
#include "kernels/simt/runtime.h"
#include "kernels/simt/shared_memory.h"

namespace midfill::simt {

class Block {
 public:
  struct Launch {
    dim3 block;
    size_t shared_bytes;
    void (*thread)(void*);
    void* context;
    Schedule schedule;
  };

  // Runs one block to its end. Throws Error: "<where>: <what>; block (x, y, z)".
  void run(const Launch& launch, Rng& rng);

  // The rest is called by the running thread. What goes wrong is an Error, thrown in the thread's
  // own fiber, and ends the launch; abandon() does so where nothing may be thrown.
  int thread() const { return current_; }
  bool running() const { return current_ >= 0; }
  [[noreturn]] void abandon(const std::string& what);
  void barrier(int id, int count, bool wait, bool block_wide, Site site);
  void collective(unsigned mask, const char* what, void* operands,
                  void (*compute)(void* const*, unsigned, const Site&), bool ordered, Site site);
  void copy(void* to, const void* from, int bytes, int source_bytes, Site site);
  void copy_commit() { ++threads_[current_].groups; }
  void copy_wait(int groups_in_flight);
  // A memory access of one thread, in race mode.
  void access(int thread, const void* p, size_t bytes, Access access, Place place);

  SharedMemory shared;
  BankCounter banks;
  race::Checker checker;

 private:
  enum class State : uint8_t { can_run, waits, done };
  struct Copy {
    void* to;
    const void* from;
    int bytes, source_bytes, group;
    Site site;
  };
  struct Thread {
    Fiber* fiber = nullptr;  // none before it starts
    State state = State::can_run;
    uint3 index{};
    const char* waits_at = nullptr;
    Site site;
    std::vector<Copy> copies;  // in flight, oldest first
    int groups = 0;            // committed
  };
  using Threads = std::bitset<kMaxThreads>;
  struct Barrier {
    int expected = 0;
    Site site;
    Threads arrived, waiting;
    race::Meeting meeting;
  };
  struct Collective {
    unsigned mask = 0, arrived = 0;
    void (*compute)(void* const*, unsigned, const Site&) = nullptr;
    const char* what = nullptr;
    Site site;
    std::array<void*, kWarp> operands{};
    race::Meeting meeting;
  };

  static void fiber_main();
  void run_current();
  [[noreturn]] void end();  // back to the host, for good
  int next();               // the thread to run now, or -1
  void enter(int thread);   // makes it the current one
  void give_way();          // the current thread lets the schedule decide
  void wait(const char* at, Site site);
  void wake(int thread);
  std::string waiting_threads() const;

  Launch launch_{};
  Rng* rng_ = nullptr;
  std::vector<Thread> threads_;
  std::array<uint64_t, kMaxThreads / 64> can_run_{};
  int count_ = 0, done_ = 0;
  int current_ = -1;
  std::array<Barrier, 16> barriers_;
  std::vector<std::vector<Collective>> collectives_;  // pending, of each warp
  Fiber host_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  std::string error_;
};

// There is one, since kernels name their threads by global variables.
Block& running_block();

}  // namespace midfill::simt
