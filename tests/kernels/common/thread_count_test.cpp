#include "kernels/common/thread_count.h"

#include "kernels/common/check.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

ThreadLimits eight() {
  return {.processors = 8,
          .cpu_quota = {},
          .omp_num_threads = {},
          .omp_thread_limit = {},
          .omp_max_active_levels = {}};
}

void expect_count(int asked, const ThreadLimits& limits, int threads, const std::string& why) {
  const ThreadCount count = thread_count(asked, limits);
  EXPECT_EQ(count.threads, threads);
  EXPECT_EQ(count.why, why);
}

TEST(ThreadCount, IsWhatWasAskedForElseAllProcessors) {
  expect_count(0, eight(), 8, "");
  expect_count(3, eight(), 3, "");
  expect_count(12, eight(), 12, "");
}

TEST(ThreadCount, FollowsTheVariablesOfOpenMp) {
  ThreadLimits limits = eight();
  limits.omp_num_threads = std::string("5");
  expect_count(0, limits, 5, "");
  expect_count(3, limits, 3, "");
  limits.omp_num_threads = std::string(" 4 , 2");  // the inner level's is for nobody
  expect_count(0, limits, 4, "");
  limits.omp_num_threads = std::string("99999999999999999999");
  expect_count(0, limits, 4096, "");
  limits.omp_thread_limit = std::string("2");
  expect_count(0, limits, 2, "OMP_THREAD_LIMIT is 2");
  expect_count(7, limits, 2, "OMP_THREAD_LIMIT is 2");
  expect_count(2, limits, 2, "");
  limits.omp_max_active_levels = std::string("1");
  expect_count(7, limits, 2, "OMP_THREAD_LIMIT is 2");
  limits.omp_max_active_levels = std::string("0");
  expect_count(7, limits, 1, "OMP_MAX_ACTIVE_LEVELS is 0");
}

TEST(ThreadCount, FollowsTheQuotaWhereNothingWasAskedFor) {
  ThreadLimits limits = eight();
  limits.cpu_quota = 1.5;
  expect_count(0, limits, 2, "");
  expect_count(6, limits, 6, "");
  limits.cpu_quota = 0.25;
  expect_count(0, limits, 1, "");
  limits.cpu_quota = 64;
  expect_count(0, limits, 8, "");
  limits.omp_num_threads = std::string("6");
  limits.cpu_quota = 1.5;
  expect_count(0, limits, 6, "");
}

TEST(ThreadCount, NamesAVariableThatIsNoNumber) {
  const auto refused = [](std::string ThreadLimits::*variable, const std::string& name, int least,
                          const std::vector<std::string>& values) {
    for (const std::string& value : values) {
      ThreadLimits limits = eight();
      limits.*variable = value;
      EXPECT_EQ(
          test::error_of([&] { thread_count(2, limits); }),
          fmt::format("{} is \"{}\", expected a whole number from {} up", name, value, least));
    }
  };
  refused(&ThreadLimits::omp_num_threads, "OMP_NUM_THREADS", 1,
          {"0", "-3", "two", "2.5", "2 2", ",2", "-99999999999999999999"});
  refused(&ThreadLimits::omp_thread_limit, "OMP_THREAD_LIMIT", 1, {"0", "x"});
  refused(&ThreadLimits::omp_max_active_levels, "OMP_MAX_ACTIVE_LEVELS", 0, {"-1", "true"});
}

TEST(ThreadCount, RefusesWhatIsNoNumberOfThreads) {
  for (const int asked : {-1, 4097})
    EXPECT_EQ(test::error_of([&] { thread_count(asked, eight()); }),
              fmt::format("threads: {}, expected 0 to 4096", asked));
}

}  // namespace
}  // namespace midfill
