#include "src/io/units.h"

#include <limits>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Units, WritesNumbersForPeople) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(-123), "-123");
  EXPECT_EQ(bytes_text(17), "17 B");
  EXPECT_EQ(bytes_text(3 << 19), "1.5 MiB");
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(61), "1m01s");
  EXPECT_EQ(duration_text(3660), "1h01m");
  EXPECT_EQ(duration_text(90000), "1d01h");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(si_text(12345), "12.3 k");
  EXPECT_EQ(si_text(8.47e9), "8.47 G");
}

}  // namespace
}  // namespace midfill
