#include "kernels/common/threads.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/common/check.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

// How often each part ran.
class Visits {
 public:
  explicit Visits(int parts) : counts_(static_cast<size_t>(parts)) {}
  void add(int part) { ++counts_[static_cast<size_t>(part)]; }
  void expect(int times) const {
    for (const auto& count : counts_) EXPECT_EQ(count, times);
  }

 private:
  std::vector<std::atomic<int>> counts_;
};

TEST(ThreadTeam, DoesEachPartOfEachJobOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.size(), threads);
    EXPECT_EQ(team.refusal(), "");
    for (int parts = 0; parts <= threads; ++parts) {
      Visits visits(parts);
      constexpr int kJobs = 2000;
      for (int job = 0; job < kJobs; ++job) team.run(parts, [&](int part) { visits.add(part); });
      visits.expect(kJobs);
    }
  }
}

// What a part writes is there for the caller, and what the caller wrote is there for the parts.
TEST(ThreadTeam, JobsSeeWhatTheOnesBeforeThemWrote) {
  ThreadTeam team(4);
  std::vector<int64_t> values(4, 0);
  int64_t sum = 1;
  for (int job = 0; job < 5000; ++job) {
    team.run(4, [&](int part) { values[static_cast<size_t>(part)] = sum % 1000 + part; });
    sum = 0;
    for (const int64_t value : values) sum += value;
    const int64_t before = values[0];
    EXPECT_EQ(sum, 4 * before + 6);
  }
}

TEST(ThreadTeam, WorkersThatSleepAreWoken) {
  ThreadTeam team(3);
  Visits visits(3);
  for (int job = 0; job < 20; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    team.run(3, [&](int part) {
      if (part == job % 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      visits.add(part);
    });
  }
  visits.expect(20);
}

TEST(ThreadTeam, AJobInAJobAndOneFromAnotherThreadAreDoneByTheirCallers) {
  ThreadTeam team(3);
  Visits inner(3), outer(3), other(3);
  team.run(3, [&](int part) {
    outer.add(part);
    team.run(3, [&](int inside) { inner.add(inside); });
  });
  outer.expect(1);
  inner.expect(3);
  std::thread second([&] {
    for (int job = 0; job < 1000; ++job) team.run(3, [&](int part) { other.add(part); });
  });
  for (int job = 0; job < 1000; ++job) team.run(3, [&](int part) { outer.add(part); });
  second.join();
  outer.expect(1001);
  other.expect(1000);
}

TEST(ThreadTeam, WhatAPartThrowsReachesTheCallerAfterTheOthersAreDone) {
  ThreadTeam team(3);
  for (int thrower = 0; thrower < 3; ++thrower) {
    Visits visits(3);
    EXPECT_EQ(test::error_of([&] {
                team.run(3, [&](int part) {
                  visits.add(part);
                  if (part == thrower) fail("part {}", part);
                });
              }),
              fmt::format("part {}", thrower));
    visits.expect(1);
    team.run(3, [&](int part) { visits.add(part); });
    visits.expect(2);
  }
}

TEST(ThreadTeam, TeamsDoNotMeet) {
  std::vector<std::thread> owners;
  std::atomic<int> wrong = 0;
  for (int owner = 0; owner < 4; ++owner)
    owners.emplace_back([&] {
      for (int life = 0; life < 20; ++life) {
        ThreadTeam team(2 + life % 3);
        int64_t sums[4] = {};
        for (int job = 0; job < 50; ++job)
          team.run(team.size(), [&](int part) { sums[part] += part + job; });
        for (int part = 0; part < team.size(); ++part) wrong += sums[part] != 50 * part + 1225;
      }
    });
  for (std::thread& owner : owners) owner.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadTeam, RefusesWhatIsNoNumberOfThreads) {
  for (const int threads : {0, -1, 4097})
    EXPECT_EQ(test::error_of([&] { ThreadTeam team(threads); }),
              fmt::format("a team of {} threads, expected 1 to 4096", threads));
}

}  // namespace
}  // namespace midfill
