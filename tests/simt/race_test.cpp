// The race checker against the definition: an access races when one that conflicts with it came
// before and no chain of barriers leads from that one to it.
#include "kernels/simt/race.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels/common/rng.h"

namespace midfill::simt::race {
namespace {

struct Event {
  int block;
  Access access;
};

// Keeps all events of a launch, and for each thread the set of events it knows of.
class Definition {
 public:
  void begin_block(int threads) {
    ++block_;
    known_.assign(threads, {});
  }
  void meet(const std::vector<int>& threads) {
    std::vector<bool> all(events_.size());
    for (const int t : threads) join(all, known_[t]);
    for (const int t : threads) known_[t] = all;
  }
  // Whether the access races with an earlier one to the same byte.
  bool access(int thread, Access access) {
    known_[thread].resize(events_.size());
    bool races = false;
    for (size_t i = 0; i < events_.size(); ++i) {
      const Event& e = events_[i];
      const bool conflict =
          e.access == Access::write || access == Access::write || e.access != access;
      races = races || (conflict && (e.block != block_ || !known_[thread][i]));
    }
    events_.push_back({block_, access});
    known_[thread].push_back(true);
    return races;
  }

 private:
  static void join(std::vector<bool>& into, const std::vector<bool>& from) {
    for (size_t i = 0; i < from.size(); ++i)
      if (from[i]) into[i] = true;
  }
  int block_ = 0;
  std::vector<Event> events_;
  std::vector<std::vector<bool>> known_;
};

void meet(Checker& checker, const std::vector<int>& threads) {
  Meeting meeting;
  for (const int t : threads) checker.arrive(meeting, t);
  for (const int t : threads) checker.leave(meeting, t);
}

// Random histories of one byte of global memory, each up to its first race.
TEST(RaceChecker, FindsTheFirstRaceOfRandomHistories) {
  constexpr int kHistories = 3000, kLength = 60, kThreads = 5;
  int races = 0, clean_accesses = 0;
  Checker checker;
  for (int history = 0; history < kHistories; ++history) {
    Rng rng(1, Purpose::kTest, 0, history);
    // Rarely many kinds of access, so that histories grow long.
    const uint64_t writes = rng.below(3), atomics = rng.below(3), meetings = 2 + rng.below(12);
    Definition definition;
    Cell cell{};
    checker.begin_launch();
    checker.begin_block(kThreads);
    definition.begin_block(kThreads);
    for (int i = 0; i < kLength; ++i) {
      if (rng.below(40) == 0) {
        checker.begin_block(kThreads);
        definition.begin_block(kThreads);
        continue;
      }
      if (rng.below(16) < meetings) {
        std::vector<int> some;
        for (int t = 0; t < kThreads; ++t)
          if (rng.below(3) > 0) some.push_back(t);
        definition.meet(some);
        meet(checker, some);
        continue;
      }
      const int thread = static_cast<int>(rng.below(kThreads));
      const uint64_t kind = rng.below(12);
      const Access access = kind < writes             ? Access::write
                            : kind < writes + atomics ? Access::atomic
                                                      : Access::read;
      const bool expected = definition.access(thread, access);
      const auto found = checker.access(&cell, 1, Memory::global, thread, access, Place::unknown);
      ASSERT_EQ(found.has_value(), expected)
          << "history " << history << ", event " << i << ": " << found.value_or("none");
      clean_accesses += !expected;
      if (expected) {
        ++races;
        break;
      }
    }
  }
  EXPECT_GT(races, kHistories / 3);
  EXPECT_GT(clean_accesses, kHistories * 5);
}

TEST(RaceChecker, ArrivingTellsAndWaitingLearns) {
  Checker checker;
  checker.begin_launch();
  checker.begin_block(2);
  Cell cell{};
  auto races = [&](int thread, Access access) {
    return checker.access(&cell, 1, Memory::shared, thread, access, Place::unknown).has_value();
  };
  EXPECT_FALSE(races(0, Access::write));
  Meeting meeting;
  checker.arrive(meeting, 0);  // bar.arrive
  EXPECT_FALSE(races(0, Access::read));
  checker.arrive(meeting, 1);  // bar.sync
  checker.leave(meeting, 1);
  EXPECT_FALSE(races(1, Access::read));
  EXPECT_TRUE(races(1, Access::write));  // over the read that came after the arrival
  EXPECT_TRUE(races(0, Access::write));  // which learnt nothing of the read
}

TEST(RaceChecker, CopiesInFlightMayNotBeTouched) {
  Checker checker;
  checker.begin_launch();
  checker.begin_block(2);
  Cell cell{};
  EXPECT_EQ(checker.issue_copy(&cell, 1, 0, Place::unknown), std::nullopt);
  for (const int thread : {0, 1})
    for (const Access access : {Access::read, Access::write})
      EXPECT_NE(checker.access(&cell, 1, Memory::shared, thread, access, Place::unknown),
                std::nullopt);
  checker.land_copy(&cell, 1, 0);
  EXPECT_EQ(checker.access(&cell, 1, Memory::shared, 0, Access::read, Place::unknown),
            std::nullopt);
  EXPECT_NE(checker.access(&cell, 1, Memory::shared, 1, Access::read, Place::unknown),
            std::nullopt);
}

}  // namespace
}  // namespace midfill::simt::race
