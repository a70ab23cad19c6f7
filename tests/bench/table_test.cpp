#include "src/bench/table.h"

#include <gtest/gtest.h>

#include "src/bench/datasheet.h"
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

TEST(DataSheet, IsFoundByTheNameOfTheDriver) {
  EXPECT_EQ(data_sheet("NVIDIA H100 80GB HBM3").gb_per_s, 3350);
  EXPECT_EQ(data_sheet("NVIDIA H100 PCIe").gb_per_s, 2000);
  EXPECT_EQ(data_sheet("NVIDIA H200").gb_per_s, 4800);
  EXPECT_EQ(data_sheet("NVIDIA A100-SXM4-80GB").gb_per_s, 2039);
  EXPECT_EQ(data_sheet("NVIDIA L40S").gb_per_s, 864);
  EXPECT_EQ(data_sheet("NVIDIA GeForce RTX 4090").gb_per_s, 1008);
  EXPECT_EQ(data_sheet("emulated GPU").gb_per_s, 0);
}

}  // namespace
}  // namespace midfill
