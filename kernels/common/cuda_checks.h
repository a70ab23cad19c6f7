// What kernels on the device `cuda` ask of their operands beyond an op's check().
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/common/check.h"

namespace midfill {

// Kernels read and write 8 elements at a time.
inline void require_multiple_of_8(std::string_view op, std::string_view name, int64_t n) {
  require(n % 8 == 0, "{} on cuda: {} {}, expected a multiple of 8", op, name, n);
}

}  // namespace midfill
