// The ops on the device `cuda`, by the dtype of their operands.
#include "kernels/attention.h"

#include "kernels/attention_bf16.h"
#include "kernels/attention_f32.cuh"
#include "kernels/common/column_sums.cuh"

namespace midfill {

void AttentionForward::run(Cuda& cuda) const {
  if (qkv.dtype() == DType::bf16) return attention_forward_bf16(cuda, *this);
  attention_forward_f32(cuda, *this);
}

void AttentionBackward::run(Cuda& cuda) const {
  if (qkv.dtype() == DType::bf16) return attention_backward_bf16(cuda, *this);
  attention_backward_f32(cuda, *this);
  if (!dbias) return;
  const int64_t rows = dqkv.dim(0) * dqkv.dim(1), columns = dbias.numel();
  auto* partials = static_cast<float*>(cuda.workspace(
      static_cast<size_t>(ColumnWalk(rows, columns).partials()) * sizeof(float)));
  add_columns(cuda, dqkv.as<float>(), rows, columns, partials, dbias.as<float>());
}

}  // namespace midfill
