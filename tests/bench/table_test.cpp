#include "src/bench/table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "src/bench/timing.h"

namespace midfill {
namespace {

TEST(Percentile, IsTheNearestValue) {
  const std::vector<double> values = {5, 1, 4, 2, 3};
  EXPECT_EQ(percentile(values, 0.0), 1);
  EXPECT_EQ(percentile(values, 0.2), 2);
  EXPECT_EQ(percentile(values, 0.5), 3);
  EXPECT_EQ(percentile(values, 0.8), 4);
  EXPECT_EQ(percentile(values, 1.0), 5);
  EXPECT_EQ(percentile({7}, 0.5), 7);
}

TEST(ThreeDigits, KeepsThreeDigitsAndWholeNumbers) {
  EXPECT_EQ(three_digits(0.01234), "0.0123");
  EXPECT_EQ(three_digits(1.234), "1.23");
  EXPECT_EQ(three_digits(12.34), "12.3");
  EXPECT_EQ(three_digits(1234.4), "1234");
  EXPECT_EQ(three_digits(0), "0");
  EXPECT_EQ(three_digits(-0.0), "0");
  for (const double none : {1.0 / 0.0, -1.0 / 0.0, std::nan(""), -std::nan("")})
    EXPECT_EQ(three_digits(none), "–");
}

TEST(Table, AlignsColumnsOfManyBytesACharacter) {
  Table table({"op", "ms"});
  table.add({"layernorm", "1–2"});
  table.add({"gelu", "–"});
  EXPECT_EQ(table.text(),
            "| op        | ms  |\n"
            "|-----------|-----|\n"
            "| layernorm | 1–2 |\n"
            "| gelu      | –   |\n");
}

}  // namespace
}  // namespace midfill
