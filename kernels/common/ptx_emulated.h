// The twins of kernels/common/ptx.h that need more than a call of the emulation; contracts there.
#pragma once

#include <cstdint>

#include "kernels/simt/runtime.h"

namespace midfill::ptx::emulated {

void ldmatrix(uint32_t* r, int count, const void* row, bool transposed, simt::Site site);
void mma_m16n8k16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1, simt::Site site);
float ex2(float x);
uint32_t pack_bf16x2(float low, float high);

}  // namespace midfill::ptx::emulated
