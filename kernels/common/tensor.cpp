#include "kernels/common/tensor.h"

#include <algorithm>

namespace midfill {

namespace {
std::string text_of(const int64_t* dims, int rank) {
  return fmt::format("({})", fmt::join(dims, dims + rank, ", "));
}
}  // namespace

Tensor::Tensor(void* data, DType dtype, std::initializer_list<int64_t> dims)
    : data_(data), dtype_(dtype), rank_(static_cast<int>(dims.size())) {
  require(dims.size() <= kMaxDims, "a tensor has at most {} dims, not {}", kMaxDims, dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

Tensor::Tensor(void* data, DType dtype, const std::vector<int64_t>& dims)
    : data_(data), dtype_(dtype), rank_(static_cast<int>(dims.size())) {
  require(dims.size() <= kMaxDims, "a tensor has at most {} dims, not {}", kMaxDims, dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

int64_t Tensor::numel() const {
  int64_t n = data_ ? 1 : 0;
  for (int i = 0; i < rank_; ++i) n *= dims_[i];
  return n;
}

bool Tensor::has_shape(std::initializer_list<int64_t> dims) const {
  return std::equal(dims.begin(), dims.end(), dims_.begin(), dims_.begin() + rank_);
}

Tensor Tensor::reshaped(std::initializer_list<int64_t> dims) const {
  Tensor view(data_, dtype_, dims);
  require(view.numel() == numel(), "cannot view {} as {}", shape_text(), view.shape_text());
  return view;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  require(rank_ > 0 && 0 <= begin && begin <= end && end <= dims_[0], "rows {}:{} of {}", begin,
          end, shape_text());
  Tensor view = *this;
  const int64_t row_bytes = dims_[0] == 0 ? 0 : bytes() / dims_[0];
  view.data_ = static_cast<char*>(data_) + begin * row_bytes;
  view.dims_[0] = end - begin;
  return view;
}

std::string Tensor::shape_text() const {
  return text_of(dims_.data(), rank_);
}

bool overlap(const Tensor& a, const Tensor& b) {
  const auto* a0 = static_cast<const char*>(a.data());
  const auto* b0 = static_cast<const char*>(b.data());
  return a0 && b0 && a0 < b0 + b.bytes() && b0 < a0 + a.bytes();
}

void expect(const Tensor& t, std::string_view op, std::string_view operand, DType dtype,
            std::initializer_list<int64_t> dims) {
  const std::string want = text_of(dims.begin(), static_cast<int>(dims.size()));
  require(static_cast<bool>(t), "{}: operand {} is missing, expected {} {}", op, operand,
          name_of(dtype), want);
  require(t.dtype() == dtype && t.has_shape(dims), "{}: {} is {} {}, expected {} {}", op, operand,
          name_of(t.dtype()), t.shape_text(), name_of(dtype), want);
}

namespace {

// `expected`: the dtype in words.
void expect_rank(const Tensor& t, std::string_view op, std::string_view operand, bool dtype_fits,
                 std::string_view expected, int rank) {
  require(static_cast<bool>(t), "{}: operand {} is missing, expected {} of rank {}", op, operand,
          expected, rank);
  require(dtype_fits && t.rank() == rank, "{}: {} is {} {}, expected {} of rank {}", op, operand,
          name_of(t.dtype()), t.shape_text(), expected, rank);
  require(t.numel() > 0, "{}: {} is {} {}, expected at least one element", op, operand,
          name_of(t.dtype()), t.shape_text());
}

}  // namespace

void expect_rank(const Tensor& t, std::string_view op, std::string_view operand, DType dtype,
                 int rank) {
  expect_rank(t, op, operand, t.dtype() == dtype, name_of(dtype), rank);
}

void expect_float(const Tensor& t, std::string_view op, std::string_view operand, int rank) {
  expect_rank(t, op, operand, t.dtype() == DType::f32 || t.dtype() == DType::bf16, "f32 or bf16",
              rank);
}

void expect_apart(std::string_view op, const Tensor& a, std::string_view a_name, const Tensor& b,
                  std::string_view b_name) {
  require(!overlap(a, b), "{}: {} overlaps {}, expected memory of its own", op, a_name, b_name);
}

void expect_same_or_apart(std::string_view op, const Tensor& a, std::string_view a_name,
                          const Tensor& b, std::string_view b_name) {
  require(a.data() == b.data() || !overlap(a, b),
          "{}: {} overlaps {} in part, expected the same tensor or memory of its own", op, a_name,
          b_name);
}

}  // namespace midfill
