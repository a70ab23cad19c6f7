// The part of plain_gemm.h that needs cuBLASLt: plain_gemm_cuda.cpp in builds by nvcc, else
// plain_gemm_absent.cpp.
#pragma once

#include "src/bench/plain_gemm.h"

namespace midfill {

std::function<void()> plain_gemm_cuda(Cuda& cuda, const PlainGemm& gemm);

}  // namespace midfill
