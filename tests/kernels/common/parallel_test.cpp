#include "kernels/common/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace midfill {
namespace {

TEST(Parallel, RangesCoverEverythingOnceAndBreakAtGrains) {
  for (int threads : {1, 2, 3, 7}) {
    const Cpu cpu(threads);
    for (int64_t n : {0, 1, 5, 64, 65, 1000}) {
      for (int64_t grain : {1, 16, 64}) {
        std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
        std::atomic<int> parts = 0, bad_breaks = 0;
        parallel_ranges(cpu, n, grain, [&](int64_t begin, int64_t end) {
          ++parts;
          if (begin % grain != 0 || (end != n && end % grain != 0) || begin >= end) ++bad_breaks;
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_LE(parts, threads);
        EXPECT_EQ(bad_breaks, 0);
        for (const auto& count : visits) EXPECT_EQ(count, 1);
      }
    }
  }
}

}  // namespace
}  // namespace midfill
