#include "tests/kernels/common/fake_cublaslt.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

#include "kernels/common/bf16.h"

namespace {

using midfill::test::fake_cublaslt;

struct Operation {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t transposed[2];  // A, B: a cublasOperation_t
  uint32_t epilogue;
  int32_t bias_type;
  const void* bias;
};

struct Layout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t stride;  // between columns
};

struct Preference {
  uint64_t workspace_bytes;
  uint32_t reduction_schemes;
  uint32_t alignments[4];
};

// The library's opaque structs hold ours.
template <typename T, typename Opaque>
T& inside(Opaque* opaque) {
  static_assert(sizeof(T) <= sizeof(*opaque));
  return *reinterpret_cast<T*>(opaque);
}

template <typename T>
cublasStatus_t assign(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof(to)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

double load(const void* data, int type, uint64_t i) {
  if (type == CUDA_R_32F) return static_cast<double>(static_cast<const float*>(data)[i]);
  return static_cast<double>(static_cast<float>(static_cast<const midfill::Bf16*>(data)[i]));
}

bool is_float(int type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF;
}

// "cublasLtMatmul(): supported data types" for CUBLAS_COMPUTE_32F.
bool types_fit(const Operation& op, int a, int b, int c, int d) {
  return op.compute == CUBLAS_COMPUTE_32F && op.scale == CUDA_R_32F && is_float(a) && a == b &&
         c == d && is_float(d) && (a == CUDA_R_16BF || d == CUDA_R_32F) &&
         (op.epilogue != CUBLASLT_EPILOGUE_BIAS || op.bias_type == d);
}

double clock_ms = 0;

}  // namespace

midfill::test::FakeCublasLt& midfill::test::fake_cublaslt() {
  static FakeCublasLt fake;
  return fake;
}

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = static_cast<cublasLtHandle_t>(std::malloc(1));
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  std::free(handle);
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_INVALID_VALUE ? "invalid value" : "not supported";
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t desc, size_t,
                                               cublasComputeType_t compute, cudaDataType_t scale) {
  inside<Operation>(desc) = {compute, scale,  {CUBLAS_OP_N, CUBLAS_OP_N}, CUBLASLT_EPILOGUE_DEFAULT,
                             -1,      nullptr};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  auto& op = inside<Operation>(desc);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(op.transposed[0], value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(op.transposed[1], value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(op.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return assign(op.bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(op.bias, value, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t stride) {
  if (stride < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  inside<Layout>(layout) = {type, rows, columns, stride};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference,
                                                     size_t) {
  inside<Preference>(preference) = {0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  auto& p = inside<Preference>(preference);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return assign(p.workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return assign(p.reduction_schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return assign(p.alignments[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return assign(p.alignments[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return assign(p.alignments[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return assign(p.alignments[3], value, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  auto& fake = fake_cublaslt();
  const auto& p = inside<Preference>(preference);
  ++fake.heuristic_calls;
  fake.workspace_bytes = p.workspace_bytes;
  fake.reduction_schemes = p.reduction_schemes;
  std::memcpy(fake.alignments, p.alignments, sizeof(p.alignments));
  *found = 0;
  // Between the candidates stands one that is none.
  for (size_t i = 0; i < fake.candidate_ms.size() && *found + 2 <= requested; ++i) {
    results[(*found)++].state = CUBLAS_STATUS_NOT_SUPPORTED;
    auto& result = results[(*found)++];
    result = {};
    result.state = CUBLAS_STATUS_SUCCESS;
    result.algo.data[0] = i;
  }
  return *found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

// D = alpha op(A) op(B) + beta C, then the bias on each column; everything by columns.
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t, cudaStream_t) {
  auto& fake = fake_cublaslt();
  const auto& op = inside<Operation>(desc);
  const auto &A = inside<Layout>(a_layout), &B = inside<Layout>(b_layout),
             &C = inside<Layout>(c_layout), &D = inside<Layout>(d_layout);
  const bool ta = op.transposed[0] == CUBLAS_OP_T, tb = op.transposed[1] == CUBLAS_OP_T;
  const uint64_t m = ta ? A.columns : A.rows, k = ta ? A.rows : A.columns,
                 n = tb ? B.rows : B.columns;
  const auto candidate = static_cast<size_t>(algo->data[0]);
  if (!types_fit(op, A.type, B.type, C.type, D.type) || workspace == nullptr ||
      (tb ? B.columns : B.rows) != k || C.rows != m || C.columns != n || D.rows != m ||
      D.columns != n)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (fake.candidate_ms[candidate] < 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  fake.multiplied.push_back(static_cast<int>(candidate));
  clock_ms += static_cast<double>(fake.candidate_ms[candidate]);

  const auto at = [](const Layout& of, uint64_t row, uint64_t column) {
    return column * static_cast<uint64_t>(of.stride) + row;
  };
  const double scale = static_cast<double>(*static_cast<const float*>(alpha)),
               keep = static_cast<double>(*static_cast<const float*>(beta));
  for (uint64_t column = 0; column < n; ++column) {
    for (uint64_t row = 0; row < m; ++row) {
      double sum = 0;
      for (uint64_t i = 0; i < k; ++i)
        sum += load(a, A.type, ta ? at(A, i, row) : at(A, row, i)) *
               load(b, B.type, tb ? at(B, column, i) : at(B, i, column));
      sum *= scale;
      if (keep != 0) sum += keep * load(c, C.type, at(C, row, column));
      if (op.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += load(op.bias, op.bias_type, row);
      const auto value = static_cast<float>(sum);
      if (D.type == CUDA_R_32F)
        static_cast<float*>(d)[at(D, row, column)] = value;
      else
        static_cast<midfill::Bf16*>(d)[at(D, row, column)] = midfill::Bf16(value);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = reinterpret_cast<cudaEvent_t>(new double(0));
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete reinterpret_cast<double*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  *reinterpret_cast<double*>(event) = clock_ms;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = static_cast<float>(*reinterpret_cast<double*>(end) - *reinterpret_cast<double*>(begin));
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = fake_cublaslt().capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = fake_cublaslt().memory_full ? nullptr : std::malloc(bytes);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t) {
  return "an error";
}

}  // extern "C"
