#include <cmath>

#include "src/optim/optimizer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

OptimConfig schedule(Schedule kind, double warmup = 0.1, double decay = 0.2) {
  return {.lr = 2e-3, .min_lr_ratio = 0.1, .schedule = kind, .warmup = warmup, .decay = decay};
}

TEST(LearningRate, WarmUpIsLinearFromZeroAndEndsAtTheFullRate) {
  for (const auto kind : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    const OptimConfig config = schedule(kind);
    EXPECT_EQ(learning_rate(config, 1, 100), 2e-3 * 0.1);
    EXPECT_EQ(learning_rate(config, 5, 100), 2e-3 * 0.5);
    EXPECT_EQ(learning_rate(config, 10, 100), 2e-3);
  }
}

TEST(LearningRate, NoWarmUpAndTheShortestWarmUp) {
  EXPECT_EQ(learning_rate(schedule(Schedule::constant, 0.0), 1, 100), 2e-3);
  EXPECT_LT(learning_rate(schedule(Schedule::cosine, 0.0), 1, 100), 2e-3);
  // A warm-up of less than a step is one step, and that has the full rate.
  EXPECT_EQ(learning_rate(schedule(Schedule::cosine, 1e-9), 1, 100), 2e-3);
  EXPECT_EQ(learning_rate(schedule(Schedule::cosine, 1.0), 50, 100), 1e-3);
  EXPECT_EQ(learning_rate(schedule(Schedule::cosine, 1.0), 100, 100), 2e-3);
}

TEST(LearningRate, AWarmUpInStepsDoesNotDependOnTheEnd) {
  for (const auto kind : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    OptimConfig config = schedule(kind);
    config.warmup_steps = 20;
    EXPECT_EQ(warmup_steps(config, 100), 20);
    for (const int64_t total : {30, 100, 1'000'000}) {
      EXPECT_EQ(learning_rate(config, 5, total), 2e-3 * 0.25);
      EXPECT_EQ(learning_rate(config, 20, total), 2e-3);
    }
    // A run that ends before.
    EXPECT_EQ(learning_rate(config, 10, 10), 2e-3 * 0.5);
  }
  EXPECT_EQ(warmup_steps(schedule(Schedule::cosine), 100), 10);
  EXPECT_EQ(warmup_steps(schedule(Schedule::cosine, 0.0), 100), 0);
  EXPECT_EQ(warmup_steps(schedule(Schedule::cosine, 1e-9), 100), 1);
}

TEST(LearningRate, EndsExactlyAtTheSmallestRateAndStaysThere) {
  for (const auto kind : {Schedule::cosine, Schedule::linear, Schedule::wsd})
    for (const int64_t total : {2, 7, 100, 12345})
      for (const int64_t step : {total, total + 1, 2 * total})
        EXPECT_EQ(learning_rate(schedule(kind, 0.0), step, total), 2e-3 * 0.1)
            << static_cast<int>(kind) << " " << total;
  EXPECT_EQ(learning_rate(schedule(Schedule::constant), 100, 100), 2e-3);
}

TEST(LearningRate, ValuesBetween) {
  const double lr = 2e-3, low = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate(schedule(Schedule::linear), 55, 100), lr * (low + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate(schedule(Schedule::cosine), 55, 100), lr * (low + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate(schedule(Schedule::cosine), 40, 100),
                   lr * (low + 0.9 * 0.5 * (1 + std::cos(M_PI / 3))));
  const OptimConfig wsd = schedule(Schedule::wsd);
  EXPECT_EQ(learning_rate(wsd, 11, 100), lr);
  EXPECT_EQ(learning_rate(wsd, 80, 100), lr);
  EXPECT_DOUBLE_EQ(learning_rate(wsd, 90, 100), lr * (low + 0.9 * 0.5));
  // A decay that would begin inside the warm-up begins after it.
  EXPECT_EQ(learning_rate(schedule(Schedule::wsd, 0.5, 0.9), 50, 100), lr);
  EXPECT_EQ(learning_rate(schedule(Schedule::wsd, 0.5, 0.9), 100, 100), lr * low);
  EXPECT_EQ(learning_rate(schedule(Schedule::wsd, 0.0, 0.0), 100, 100), lr);
}

TEST(LearningRate, NeverRisesAfterTheWarmUp) {
  for (const auto kind : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    double last = INFINITY;
    for (int64_t step = 100; step <= 1000; ++step) {
      const double lr = learning_rate(schedule(kind), step, 1000);
      EXPECT_LE(lr, last);
      EXPECT_GE(lr, 2e-3 * 0.1);
      last = lr;
    }
  }
}

}  // namespace
}  // namespace midfill
