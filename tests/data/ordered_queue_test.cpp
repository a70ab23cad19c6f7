#include "src/data/ordered_queue.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "kernels/common/rng.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using Queue = OrderedQueue<int>;

TEST(OrderedQueue, GivesJobsBackInOrder) {
  for (const int workers : {1, 2, 5}) {
    Queue queue(20);
    std::atomic<int64_t> inside = 0, most = 0;
    std::vector<std::jthread> pool;
    pool.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) {
        const size_t cost = Rng(1, Purpose::kTest, 0, static_cast<uint64_t>(i)).below(9);
        inside += static_cast<int64_t>(cost);
        ASSERT_TRUE(queue.push(std::make_unique<int>(i), cost));
        most = std::max<int64_t>(most, inside);
      }
      queue.end_of_jobs();
    });
    for (int w = 0; w < workers; ++w)
      pool.emplace_back([&queue] {
        while (int* job = queue.take()) {
          if (*job % 7 == 0) std::this_thread::yield();
          *job = 2 * *job;
          queue.done(job);
        }
      });
    int expected = 0;
    while (const auto job = queue.next()) {
      ASSERT_EQ(*job, 2 * expected);
      inside -=
          static_cast<int64_t>(Rng(1, Purpose::kTest, 0, static_cast<uint64_t>(expected)).below(9));
      ++expected;
    }
    EXPECT_EQ(expected, 3000);
    EXPECT_LE(most, 20 + 8);  // the job that next() gave last counts until the next call
  }
}

TEST(OrderedQueue, OneJobMayCostMoreThanTheBudget) {
  Queue queue(10);
  ASSERT_TRUE(queue.push(std::make_unique<int>(1), 1000));
  std::jthread second([&] {
    queue.push(std::make_unique<int>(2), 1);
    queue.end_of_jobs();
  });
  queue.done(queue.take());
  EXPECT_EQ(*queue.next(), 1);
  std::jthread worker([&] {
    while (int* job = queue.take()) queue.done(job);
  });
  EXPECT_EQ(*queue.next(), 2);
  EXPECT_EQ(queue.next(), nullptr);
}

TEST(OrderedQueue, CloseWakesEverybody) {
  Queue queue(1);
  ASSERT_TRUE(queue.push(std::make_unique<int>(1), 1));
  EXPECT_NE(queue.take(), nullptr);  // and never done
  std::jthread reader([&] { EXPECT_FALSE(queue.push(std::make_unique<int>(2), 1)); });
  std::jthread worker([&] { EXPECT_EQ(queue.take(), nullptr); });
  std::jthread writer([&] { EXPECT_EQ(queue.next(), nullptr); });
  queue.close();
}

}  // namespace
}  // namespace midfill
