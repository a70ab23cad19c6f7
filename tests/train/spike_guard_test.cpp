#include "src/train/spike_guard.h"

#include <cmath>
#include <limits>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TrainConfig guard_config(double zscore, int window) {
  TrainConfig config;
  config.spike_zscore = zscore;
  config.spike_window = window;
  return config;
}

// A full window with mean 2 and standard deviation 1 for the loss, 20 and 10 for the norm.
SpikeGuard full_guard(double zscore) {
  SpikeGuard guard(guard_config(zscore, 8));
  for (int i = 0; i < 4; ++i) {
    guard.accept(1, 10);
    guard.accept(3, 30);
  }
  return guard;
}

TEST(SpikeGuard, MeasuresInStandardDeviations) {
  const SpikeGuard guard = full_guard(3);
  EXPECT_DOUBLE_EQ(guard.loss_zscore(4), 2.0);
  EXPECT_DOUBLE_EQ(guard.norm_zscore(0), -2.0);
  EXPECT_EQ(guard.judge(4.9, 49), Verdict::apply);
  EXPECT_EQ(guard.judge(5.1, 20), Verdict::spike);
  EXPECT_EQ(guard.judge(2, 51), Verdict::spike);
  EXPECT_EQ(guard.judge(-100, -100), Verdict::apply);  // better than expected is no spike
}

TEST(SpikeGuard, RefusesWhatIsNotFiniteWhateverTheSettings) {
  for (const SpikeGuard& guard : {full_guard(3), full_guard(0), SpikeGuard(guard_config(0, 8))})
    for (const double bad : {kNan, kInf, -kInf}) {
      EXPECT_EQ(guard.judge(bad, 1), Verdict::nonfinite);
      EXPECT_EQ(guard.judge(1, bad), Verdict::nonfinite);
    }
}

TEST(SpikeGuard, JudgesOnlyFromAFullWindow) {
  SpikeGuard guard(guard_config(3, 4));
  for (int i = 0; i < 3; ++i) guard.accept(1 + i % 2, 1 + i % 2);
  EXPECT_EQ(guard.judge(1e6, 1e6), Verdict::apply);
  guard.accept(2, 2);
  EXPECT_EQ(guard.judge(1e6, 1), Verdict::spike);
}

TEST(SpikeGuard, OffMeansOff) {
  EXPECT_EQ(full_guard(0).judge(1e300, 1e300), Verdict::apply);
}

TEST(SpikeGuard, ConstantWindowJudgesNothing) {
  SpikeGuard guard(guard_config(3, 4));
  for (int i = 0; i < 4; ++i) guard.accept(1, 1);
  EXPECT_EQ(guard.judge(1.5, 1.5), Verdict::apply);
}

TEST(SpikeGuard, WindowSlidesAndForgets) {
  SpikeGuard guard = full_guard(3);
  for (int i = 0; i < 4; ++i) {
    guard.accept(101, 10);
    guard.accept(103, 30);
  }
  EXPECT_EQ(guard.loss_window().size(), 8u);
  EXPECT_EQ(guard.judge(104, 20), Verdict::apply);
}

TEST(SpikeGuard, RestoredGuardIsTheSame) {
  const SpikeGuard guard = full_guard(3);
  SpikeGuard other(guard_config(3, 8));
  other.restore(guard.loss_window(), guard.norm_window());
  EXPECT_EQ(other.loss_window(), guard.loss_window());
  EXPECT_EQ(other.loss_zscore(4.25), guard.loss_zscore(4.25));
  SpikeGuard smaller(
      guard_config(3, 2));  // a resume may ask for a smaller window: the newest count
  smaller.restore({1, 2, 3}, {4, 5, 6});
  EXPECT_EQ(smaller.loss_window(), (std::vector<double>{2, 3}));
}

}  // namespace
}  // namespace midfill
