// The ops on the device `cuda`, by the dtype of their operands.
#include "kernels/attention.h"

#include "kernels/attention_bf16.h"
#include "kernels/attention_f32.cuh"

namespace midfill {

void AttentionForward::run(Cuda& cuda) const {
  if (qkv.dtype() == DType::bf16)
    attention_forward_bf16(cuda, *this);
  else
    attention_forward_f32(cuda, *this);
}

void AttentionBackward::run(Cuda& cuda) const {
  require(qkv.dtype() == DType::f32, "AttentionBackward on cuda: qkv is {}, expected f32",
          name_of(qkv.dtype()));
  attention_backward_f32(cuda, *this);
}

}  // namespace midfill
