// The f32 form of the attention ops on the device `cuda`, in fp32 multiply-adds: the exact mode,
// for tests and small models. Head sizes: multiples of 8 up to 128.
#pragma once

#include "kernels/attention.h"

namespace midfill {

void attention_forward_f32(Cuda& cuda, const AttentionForward& op);
void attention_backward_f32(Cuda& cuda, const AttentionBackward& op);

}  // namespace midfill
