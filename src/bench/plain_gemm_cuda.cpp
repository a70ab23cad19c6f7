#include "src/bench/plain_gemm_cuda.h"

#include <cublasLt.h>

#include <memory>

#include "kernels/common/check.h"

namespace midfill {

namespace {

constexpr size_t kWorkspace = size_t{32} << 20;  // what cuBLASLt recommends for Hopper

void check(cublasStatus_t status, const char* what) {
  require(status == CUBLAS_STATUS_SUCCESS, "bench: cuBLASLt: {}: {}", what,
          cublasLtGetStatusString(status));
}

cudaDataType_t type_of(const Tensor& t) {
  return t.dtype() == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// Descriptors of one product and the algorithm that the library puts first.
class Plan {
 public:
  // cuBLASLt stores by columns, so it is asked for c^T = op(b)^T op(a)^T.
  Plan(Cuda& cuda, const PlainGemm& gemm) : gemm_(gemm), stream_(cuda.stream()) {
    workspace_ = cuda.allocate(kWorkspace);
    check(cublasLtCreate(&library_), "cannot start");
    check(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "no descriptor");
    const cublasOperation_t first = gemm.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = gemm.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    describe(&a_, gemm.b);
    describe(&b_, gemm.a);
    describe(&c_, gemm.c);
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "no preference");
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &kWorkspace, sizeof kWorkspace);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library_, product_, a_, b_, c_, c_,
                                                                 preference, 1, &choice_, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    check(status, "no algorithm");
    require(found == 1, "bench: cuBLASLt has no algorithm for this product");
  }
  ~Plan() {
    for (cublasLtMatrixLayout_t layout : {a_, b_, c_}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(product_);
    cublasLtDestroy(library_);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void run() const {
    const float alpha = 1.0f;
    check(cublasLtMatmul(library_, product_, &alpha, gemm_.b.data(), a_, gemm_.a.data(), b_,
                         &gemm_.beta, gemm_.c.data(), c_, gemm_.c.data(), c_, &choice_.algo,
                         workspace_.data(), kWorkspace, static_cast<cudaStream_t>(stream_)),
          "the product failed");
  }

 private:
  static void describe(cublasLtMatrixLayout_t* layout, const Tensor& t) {
    check(cublasLtMatrixLayoutCreate(layout, type_of(t), static_cast<uint64_t>(t.dim(1)),
                                     static_cast<uint64_t>(t.dim(0)), t.dim(1)),
          "no layout");
  }

  PlainGemm gemm_;
  void* stream_;
  Buffer workspace_;
  cublasLtHandle_t library_ = nullptr;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulHeuristicResult_t choice_{};
};

}  // namespace

std::function<void()> plain_gemm_cuda(Cuda& cuda, const PlainGemm& gemm) {
  const auto plan = std::make_shared<Plan>(cuda, gemm);
  return [plan] { plan->run(); };
}

}  // namespace midfill
