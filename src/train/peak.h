// What the machine can do at most: the denominator of MFU.
#pragma once

#include "kernels/common/device.h"

namespace midfill {

// TFLOP/s of the fastest of a few fp32 matrix products (1024 x 1024 x 1024) on the device, about
// 0.3 seconds: a ceiling as measured, not a data sheet's.
double measure_peak_tflops(Device& device);

}  // namespace midfill
