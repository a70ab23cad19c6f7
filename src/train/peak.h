// What a device can do at most: the denominator of MFU.
#pragma once

#include <string>
#include <string_view>

#include "kernels/common/device.h"
#include "kernels/common/dtype.h"

namespace midfill {

struct Peak {
  double tflops = 0.0;  // 0: unknown
  std::string source;   // where the figure is from, or what would make it known
};

// On the CPU measured (measure_peak_tflops); on a GPU of the table the data sheet's dense figure
// for matrix products in `dtype`; 0 on any other, the emulated one included.
Peak peak_of(Device& device, DType dtype);

// TFLOP/s of matrix products of `dtype` by the data sheet, without sparsity: on tensor cores for
// bf16, on the other cores for f32. `name` as the driver gives it; 0 where the table has no such
// GPU.
double datasheet_tflops(std::string_view name, DType dtype);

// GB/s of its memory by the data sheet; 0 where the table has no such GPU.
double datasheet_gb_per_s(std::string_view name);

// TFLOP/s of the fastest of a few fp32 matrix products (1024 x 1024 x 1024) on the CPU, about 0.3
// seconds: a ceiling as measured, not a data sheet's.
double measure_peak_tflops(Device& device);

}  // namespace midfill
