// A tensor is a view: pointer, dtype and up to five dims, contiguous and row-major. It owns nothing
// and is passed by value; memory belongs to a Buffer, or to whoever else made it.
//
// House rules for every op in kernels/:
//   * operands are named, outputs first, then inputs, then scalars with defaults;
//   * backward ops ADD into gradients of parameters and OVERWRITE gradients of activations,
//     so that parameters collect their gradient over micro-batches; a contract says so where it
//     differs;
//   * an operand that a contract calls optional may be a default-constructed (empty) tensor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/check.h"
#include "kernels/common/dtype.h"

namespace midfill {

class Tensor {
 public:
  static constexpr int kMaxDims = 5;

  Tensor() = default;
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> dims);
  Tensor(void* data, DType dtype, const std::vector<int64_t>& dims);

  // Views existing memory: Tensor::of(vector.data(), {rows, cols}).
  template <typename T>
  static Tensor of(T* data, std::initializer_list<int64_t> dims) {
    return Tensor(const_cast<std::remove_const_t<T>*>(data), dtype_of<std::remove_const_t<T>>(),
                  dims);
  }

  explicit operator bool() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  int rank() const { return rank_; }
  int64_t dim(int i) const { return dims_[i < 0 ? rank_ + i : i]; }
  int64_t numel() const;
  int64_t bytes() const { return numel() * size_of(dtype_); }
  void* data() const { return data_; }

  // The elements; throws where the dtype is another.
  template <typename T>
  T* as() const {
    require(dtype_ == dtype_of<T>(), "tensor is {}, not {}", name_of(dtype_),
            name_of(dtype_of<T>()));
    return static_cast<T*>(data_);
  }

  bool has_shape(std::initializer_list<int64_t> dims) const;
  // The same elements under other dims; the number of elements must agree.
  Tensor reshaped(std::initializer_list<int64_t> dims) const;
  // Rows [begin, end) of the first dim.
  Tensor rows(int64_t begin, int64_t end) const;
  std::string shape_text() const;  // "(2, 128, 64)"

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::f32;
  int rank_ = 0;
  std::array<int64_t, kMaxDims> dims_{};
};

// True where the two tensors share at least one byte.
bool overlap(const Tensor& a, const Tensor& b);

// For `check()` of an op: throws "LayerNormForward: gamma is f32 (5), expected f32 (8)" unless `t`
// is there with this dtype and shape.
void expect(const Tensor& t, std::string_view op, std::string_view operand, DType dtype,
            std::initializer_list<int64_t> dims);

// The same for the operand whose dims the others follow: throws unless `t` is there with this dtype
// and rank, and has at least one element.
void expect_rank(const Tensor& t, std::string_view op, std::string_view operand, DType dtype,
                 int rank);

// The same for an operand that is f32 on the CPU, and f32 or bf16 on cuda.
void expect_float(const Tensor& t, std::string_view op, std::string_view operand, int rank);

// Throws "LayerNormForward: y overlaps x, expected memory of its own" where a contract forbids
// that.
void expect_apart(std::string_view op, const Tensor& a, std::string_view a_name, const Tensor& b,
                  std::string_view b_name);

// For operands that may be the same tensor: throws where they overlap otherwise.
void expect_same_or_apart(std::string_view op, const Tensor& a, std::string_view a_name,
                          const Tensor& b, std::string_view b_name);

}  // namespace midfill
