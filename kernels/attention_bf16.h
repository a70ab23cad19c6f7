// Attention in bf16 on the device `cuda`, by tensor cores: what attention.cu hands over to.
#pragma once

#include "kernels/attention.h"

namespace midfill {

// Head sizes 32, 64, 96, 128; others are refused.
void attention_forward_bf16(Cuda& cuda, const AttentionForward& op);
void attention_backward_bf16(Cuda& cuda, const AttentionBackward& op);

}  // namespace midfill
