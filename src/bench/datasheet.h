// What the makers of GPUs promise.
#pragma once

#include <string_view>

namespace midfill {

struct DataSheet {
  double gb_per_s = 0;     // device memory
  double bf16_tflops = 0;  // tensor cores, dense, sums in f32
  double f32_tflops = 0;   // without tensor cores
};

// By the name that the driver gives the device; zeros for one that is not in the table.
DataSheet data_sheet(std::string_view device_name);

}  // namespace midfill
