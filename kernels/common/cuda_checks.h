// What kernels on the device `cuda` ask of their operands beyond an op's check().
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/common/tensor.h"

namespace midfill {

// Kernels read and write 8 elements at a time.
inline void require_multiple_of_8(std::string_view op, std::string_view name, int64_t n) {
  require(n % 8 == 0, "{} on cuda: {} {}, expected a multiple of 8", op, name, n);
}

// Kernels that go over a whole arena read and write 16 bytes at a time from its first element on.
inline void require_aligned(std::string_view op, std::string_view name, const Tensor& t) {
  const auto past = reinterpret_cast<uintptr_t>(t.data()) % 16;
  require(past == 0, "{} on cuda: {} begins {} bytes past a multiple of 16, expected 0", op, name,
          past);
}

}  // namespace midfill
