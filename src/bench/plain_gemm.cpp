#include "src/bench/plain_gemm.h"

#include <cblas.h>

#include "src/bench/plain_gemm_cuda.h"

namespace midfill {

std::function<void()> plain_gemm(Device& device, const PlainGemm& gemm) {
  if (device.is_cuda()) return plain_gemm_cuda(device.cuda(), gemm);
  if (device.cpu().threads() > 1) return nullptr;
  return [g = gemm] {
    const auto n = static_cast<int>(g.c.dim(1));
    cblas_sgemm(CblasRowMajor, g.transpose_a ? CblasTrans : CblasNoTrans,
                g.transpose_b ? CblasTrans : CblasNoTrans, static_cast<int>(g.c.dim(0)), n,
                static_cast<int>(g.a.dim(g.transpose_a ? 0 : 1)), 1.0f, g.a.as<float>(),
                static_cast<int>(g.a.dim(1)), g.b.as<float>(), static_cast<int>(g.b.dim(1)), g.beta,
                g.c.as<float>(), n);
  };
}

}  // namespace midfill
