// Element types of tensors.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/common/bf16.h"
#include "kernels/common/check.h"

namespace midfill {

enum class DType : uint8_t { f32, f64, i32, bf16 };

constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 8;
    case DType::bf16:
      return 2;
    default:
      return 4;
  }
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

// The DType of a C++ type. Kernel files add CUDA's own bfloat16 (kernels/common/launch.h).
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<Bf16> {
  static constexpr DType value = DType::bf16;
};

template <typename T>
constexpr DType dtype_of() {
  return DTypeOf<T>::value;
}

}  // namespace midfill
