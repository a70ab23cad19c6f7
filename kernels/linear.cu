#include "kernels/linear.h"

#include "kernels/common/column_sums.cuh"
#include "kernels/common/cuda_checks.h"
#include "kernels/common/gemm.h"

namespace midfill {

namespace {

template <typename T>
void add_rows_of(Cuda& cuda, const Tensor& dy, const Tensor& dbias) {
  const ColumnWalk walk{dy.dim(0), dy.dim(1)};
  auto* partials =
      static_cast<float*>(cuda.workspace(static_cast<size_t>(walk.partials()) * sizeof(float)));
  add_columns(cuda, dy.as<T>(), walk.rows, walk.columns, partials, dbias.as<float>());
}

}  // namespace

void LinearForward::run(Cuda& cuda) const {
  require_multiple_of_8("LinearForward", "I", x.dim(1));
  require_multiple_of_8("LinearForward", "O", w.dim(0));
  Gemm{.d = y, .a = x, .b = w, .add = residual, .bias = bias, .transpose_b = true}.run(cuda);
}

void LinearBackward::run(Cuda& cuda) const {
  require_multiple_of_8("LinearBackward", "I", x.dim(1));
  require_multiple_of_8("LinearBackward", "O", dy.dim(1));
  if (dbias) {
    if (dy.dtype() == DType::f32)
      add_rows_of<float>(cuda, dy, dbias);
    else
      add_rows_of<__nv_bfloat16>(cuda, dy, dbias);
  }
  Gemm{.d = dw, .a = dy, .b = x, .add = dw, .transpose_a = true}.run(cuda);
  if (dx) Gemm{.d = dx, .a = dy, .b = w}.run(cuda);
}

}  // namespace midfill
