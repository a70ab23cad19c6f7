#include "kernels/common/gemm.h"

namespace midfill {

std::string Gemm::text() const {
  std::string text =
      fmt::format("{} {} = {}{} {}{}", d.shape_text(), name_of(d.dtype()), a.shape_text(),
                  transpose_a ? "^T" : "", b.shape_text(), transpose_b ? "^T" : "");
  if (a.dtype() != d.dtype()) text += fmt::format(" in {}", name_of(a.dtype()));
  if (add) text += " + add";
  if (bias) text += " + bias";
  return text;
}

void Gemm::check() const {
  const char* op = "Gemm";
  expect_float(a, op, "a", 2);
  if (transpose_b)
    expect(b, op, "b", a.dtype(), {b.dim(0), k()});
  else
    expect(b, op, "b", a.dtype(), {k(), b.dim(1)});
  expect_float(d, op, "d", 2);
  const DType out = a.dtype() == DType::f32 ? DType::f32 : d.dtype();
  expect(d, op, "d", out, {m(), n()});
  expect_apart(op, d, "d", a, "a");
  expect_apart(op, d, "d", b, "b");
  if (bias) {
    expect(bias, op, "bias", out, {n()});
    expect_apart(op, d, "d", bias, "bias");
  }
  if (add) {
    expect(add, op, "add", out, {m(), n()});
    expect_same_or_apart(op, d, "d", add, "add");
  }
  constexpr int64_t kLimit = INT32_MAX;  // of BLAS
  require(m() <= kLimit && n() <= kLimit && k() <= kLimit, "{}: {}: each dim at most {}", op,
          text(), kLimit);
}

}  // namespace midfill
