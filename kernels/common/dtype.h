// Element types of tensors.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "kernels/common/check.h"

namespace midfill {

enum class DType : uint8_t { f32, f64, i32 };

constexpr int64_t size_of(DType dtype) {
  return dtype == DType::f64 ? 8 : 4;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
  }
  return "?";
}

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::f64;
  else {
    static_assert(std::is_same_v<T, int32_t>, "no DType for this type");
    return DType::i32;
  }
}

}  // namespace midfill
