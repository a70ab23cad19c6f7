// Every planted bug is found as its table says, and its correct twin passes, in all schedules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "kernels/common/check.h"
#include "kernels/simt/runtime.h"
#include "tests/simt/planted.h"

namespace midfill::simt::test {

void PrintTo(const Planted& planted, std::ostream* out) {
  *out << planted.name;
}

namespace {

struct Setting {
  Schedule schedule;
  uint64_t seed;
};
const Setting kSettings[] = {{Schedule::ascending, 1},
                             {Schedule::descending, 1},
                             {Schedule::random, 1},
                             {Schedule::random, 2}};

class PlantedBug : public testing::TestWithParam<Planted> {};

// "" when the result is right.
std::string outcome(const Planted& planted, bool bug, const Setting& setting) {
  options() = {setting.schedule, setting.seed, false};
  try {
    return planted.run(bug) ? "" : kWrong;
  } catch (const Error& e) {
    return e.what();
  }
}

TEST_P(PlantedBug, IsFoundAndItsTwinPasses) {
  const Planted& planted = GetParam();
  for (const Setting& setting : kSettings) EXPECT_EQ(outcome(planted, false, setting), "");

  const std::string& expected = built_mode() == Mode::race ? planted.race : planted.plain;
  if (built_mode() == Mode::asan && planted.asan != kMissed) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(outcome(planted, true, kSettings[0]), planted.asan);
    return;
  }
  int wrong = 0;
  for (const Setting& setting : kSettings) {
    // Nothing to expect: what such a program does is undefined.
    if (expected == kMissed) continue;
    const std::string found = outcome(planted, true, setting);
    EXPECT_EQ(found.find('\n'), std::string::npos);
    if (expected == kSometimesWrong)
      wrong += !found.empty();
    else
      EXPECT_THAT(found, testing::ContainsRegex(expected));
  }
  if (expected == kSometimesWrong) {
    EXPECT_GT(wrong, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(, PlantedBug, testing::ValuesIn(planted_bugs()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace midfill::simt::test
