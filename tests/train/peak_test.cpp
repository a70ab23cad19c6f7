#include "src/train/peak.h"

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Peak, IsThatOfTheDataSheetByWholeNameAndDtype) {
  EXPECT_EQ(datasheet_tflops("NVIDIA H100 80GB HBM3", DType::bf16), 989.4);
  EXPECT_EQ(datasheet_tflops("NVIDIA H100 80GB HBM3", DType::f32), 66.9);
  EXPECT_EQ(datasheet_tflops("NVIDIA A100 80GB PCIe", DType::bf16), 312.0);
  EXPECT_EQ(datasheet_gb_per_s("NVIDIA H100 80GB HBM3"), 3350);
  EXPECT_EQ(datasheet_gb_per_s("NVIDIA H200"), 4800);
  EXPECT_EQ(datasheet_gb_per_s("NVIDIA H100"), 0.0);
  for (const char* other : {"NVIDIA H100 NVL", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 4090 D",
                            "NVIDIA H100", "emulated GPU", ""})
    EXPECT_EQ(datasheet_tflops(other, DType::bf16), 0.0) << other;
}

TEST(Peak, IsMeasuredOnTheCpuAlone) {
  Device cpu("cpu", 1);
  const Peak peak = peak_of(cpu, DType::f32);
  EXPECT_GT(peak.tflops, 1e-4);
  EXPECT_LT(peak.tflops, 10.0);
}

}  // namespace
}  // namespace midfill
