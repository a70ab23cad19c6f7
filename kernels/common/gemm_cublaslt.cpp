// Products on a GPU, by cuBLASLt. It knows matrices by columns, so a row-major product d = a b is
// handed over as d^T = b^T a^T: the same memory, read by columns, with the operands exchanged. The
// rows of d^T are the columns of d, which is where its bias epilogue adds.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <string_view>

#include "kernels/common/gemm.h"

namespace midfill {

namespace {

constexpr int kTimedRuns = 6;
// A later candidate must be faster by this much: the order of equals is the heuristic's.
constexpr float kFaster = 0.99f;

void check(cublasStatus_t status, const char* what, const Gemm& gemm) {
  require(status == CUBLAS_STATUS_SUCCESS, "device cuda: product {}: {}: {}", gemm.text(), what,
          cublasLtGetStatusString(status));
}

void check(cudaError_t status, const char* what, const Gemm& gemm) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next check does not find it again
  fail("device cuda: product {}: {}: {}", gemm.text(), what, cudaGetErrorString(status));
}

cudaStream_t stream_of(const Cuda& cuda) {
  return static_cast<cudaStream_t>(cuda.stream());
}

cudaDataType_t type_of(const Tensor& t) {
  return t.dtype() == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

// Of an address, as far as it matters to a kernel; an absent operand fits all.
uint64_t alignment_of(const Tensor& t) {
  constexpr int kMost = 8;  // 256 bytes
  return uint64_t{1} << std::min(std::countr_zero(std::bit_cast<uintptr_t>(t.data())), kMost);
}

// What a plan depends on.
using Key = std::array<uint64_t, 13>;

Key key_of(const Gemm& g) {
  return {static_cast<uint64_t>(g.m()),
          static_cast<uint64_t>(g.n()),
          static_cast<uint64_t>(g.k()),
          static_cast<uint64_t>(g.a.dtype()),
          static_cast<uint64_t>(g.d.dtype()),
          g.transpose_a,
          g.transpose_b,
          static_cast<uint64_t>((g.add ? 1 : 0) + (g.bias ? 2 : 0)),
          alignment_of(g.a),
          alignment_of(g.b),
          alignment_of(g.d),
          alignment_of(g.add),
          alignment_of(g.bias)};
}

// A product in cuBLASLt's words, and how it is done. `left` and `right` are its A and B: our b, a.
// Stays where it is made: the manual does not say that its structs may be copied.
struct Plan {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t left, right, result;
  cublasLtMatmulAlgo_t algorithm{};
  GemmPlan info;

  explicit Plan(const Gemm& g) {
    check(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation", g);
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
      check(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)),
            "attribute of the operation", g);
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, int32_t{g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N});
    set(CUBLASLT_MATMUL_DESC_TRANSB, int32_t{g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N});
    if (g.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS});
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32_t{type_of(g.bias)});
      set_bias(g);
    }
    const auto layout = [&](cublasLtMatrixLayoutOpaque_t& of, const Tensor& t) {
      const auto rows = static_cast<uint64_t>(t.dim(1)), columns = static_cast<uint64_t>(t.dim(0));
      check(cublasLtMatrixLayoutInit(&of, type_of(t), rows, columns, t.dim(1)), "layout", g);
    };
    layout(left, g.b);
    layout(right, g.a);
    layout(result, g.d);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // The one operand that is part of the operation.
  void set_bias(const Gemm& g) {
    const void* bias = g.bias.data();
    check(cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                         sizeof(bias)),
          "bias", g);
  }
};

bool autotune() {
  const char* value = std::getenv("MIDFILL_GEMM_AUTOTUNE");
  return value == nullptr || std::string_view(value) != "0";
}

// A pair of points in the stream and the time between them.
class Stopwatch {
 public:
  explicit Stopwatch(const Gemm& gemm) : gemm_(gemm) {
    check(cudaEventCreate(&begin_), "event", gemm);
    check(cudaEventCreate(&end_), "event", gemm);
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void start(cudaStream_t stream) { check(cudaEventRecord(begin_, stream), "event", gemm_); }
  float stop(cudaStream_t stream) {
    float ms = 0;
    check(cudaEventRecord(end_, stream), "event", gemm_);
    check(cudaEventSynchronize(end_), "a candidate failed", gemm_);
    check(cudaEventElapsedTime(&ms, begin_, end_), "event", gemm_);
    return ms;
  }

 private:
  const Gemm& gemm_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace

class GemmPlans {
 public:
  GemmPlans(Cuda& cuda, const Gemm& first) : workspace_(cuda.allocate(kGemmWorkspaceBytes)) {
    check(cublasLtCreate(&handle_), "cannot start cuBLASLt", first);
  }
  ~GemmPlans() { cublasLtDestroy(handle_); }
  GemmPlans(const GemmPlans&) = delete;
  GemmPlans& operator=(const GemmPlans&) = delete;

  static GemmPlans& of(Cuda& cuda, const Gemm& first) {
    if (!cuda.gemm_plans()) cuda.gemm_plans() = std::make_shared<GemmPlans>(cuda, first);
    return *cuda.gemm_plans();
  }

  Plan& plan_for(Cuda& cuda, const Gemm& gemm) {
    const Key key = key_of(gemm);
    const auto found = plans_.find(key);
    if (found != plans_.end()) return *found->second;
    auto plan = std::make_unique<Plan>(gemm);
    choose_algorithm(cuda, gemm, *plan);
    return *plans_.emplace(key, std::move(plan)).first->second;
  }

  void run(Cuda& cuda, const Gemm& gemm) {
    Plan& plan = plan_for(cuda, gemm);
    if (gemm.bias) plan.set_bias(gemm);
    check(enqueue(cuda, gemm, plan, plan.algorithm, gemm.d.data()), "cublasLtMatmul", gemm);
  }

 private:
  using Candidates = std::array<cublasLtMatmulHeuristicResult_t, kGemmCandidates>;

  // To `d`, which stands for gemm.d, and for gemm.add where that is the same tensor.
  cublasStatus_t enqueue(Cuda& cuda, const Gemm& gemm, Plan& p,
                         const cublasLtMatmulAlgo_t& algorithm, void* d) {
    const float alpha = 1.0f, beta = gemm.add ? 1.0f : 0.0f;
    const void* add = gemm.add && gemm.add.data() != gemm.d.data() ? gemm.add.data() : d;
    return cublasLtMatmul(handle_, &p.operation, &alpha, gemm.b.data(), &p.left, gemm.a.data(),
                          &p.right, &beta, add, &p.result, d, &p.result, &algorithm,
                          workspace_.data(), workspace_.bytes(), stream_of(cuda));
  }

  // Best first, as the heuristic sees it. At least one.
  int find_candidates(const Gemm& gemm, Plan& p, Candidates& candidates) {
    cublasLtMatmulPreferenceOpaque_t preference;
    check(cublasLtMatmulPreferenceInit(&preference), "preference", gemm);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)),
            "attribute of the preference", gemm);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_.bytes()});
    // The other ways to add up parts of a sum round them to the dtype of d.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    const auto aligned = [&](cublasLtMatmulPreferenceAttributes_t attribute, const Tensor& t) {
      prefer(attribute, static_cast<uint32_t>(alignment_of(t)));
    };
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, gemm.b);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, gemm.a);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, gemm.add ? gemm.add : gemm.d);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, gemm.d);
    int found = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_, &p.operation, &p.left, &p.right, &p.result,
                                         &p.result, &preference, kGemmCandidates, candidates.data(),
                                         &found),
          "no kernel for it", gemm);
    const auto end = std::remove_if(
        candidates.begin(), candidates.begin() + found,
        [](const auto& candidate) { return candidate.state != CUBLAS_STATUS_SUCCESS; });
    require(end != candidates.begin(), "device cuda: product {}: no kernel for it", gemm.text());
    return static_cast<int>(end - candidates.begin());
  }

  void choose_algorithm(Cuda& cuda, const Gemm& gemm, Plan& plan) {
    Candidates candidates;
    const int found = find_candidates(gemm, plan, candidates);
    plan.algorithm = candidates[0].algo;
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream_of(cuda), &capture), "stream", gemm);
    if (found == 1 || !autotune() || capture != cudaStreamCaptureStatusNone) return;

    // Not through Cuda::allocate: a device that is full is no reason to stop.
    void* scratch = nullptr;
    if (cudaMalloc(&scratch, static_cast<size_t>(gemm.d.bytes())) != cudaSuccess) {
      cudaGetLastError();
      return;
    }
    const Buffer scratch_owner(scratch, static_cast<size_t>(gemm.d.bytes()),
                               [](void* p) { cudaFree(p); });
    plan.info.candidates = found;
    for (int i = 0; i < found; ++i) {
      const auto& algorithm = candidates[static_cast<size_t>(i)].algo;
      const float ms = time(cuda, gemm, plan, algorithm, scratch);
      if (i == 0) plan.info.first_ms = plan.info.ms = ms;
      if (!(ms < kFaster * plan.info.ms)) continue;
      plan.algorithm = algorithm;
      plan.info.ms = ms;
      plan.info.chosen = i;
    }
  }

  // Milliseconds, of the fastest of a few runs (never the first, which loads the kernel); infinite
  // where cuBLASLt refuses the algorithm.
  float time(Cuda& cuda, const Gemm& gemm, Plan& plan, const cublasLtMatmulAlgo_t& algorithm,
             void* scratch) {
    constexpr float kNever = std::numeric_limits<float>::infinity();
    Stopwatch watch(gemm);
    float best = kNever;
    for (int run = 0; run < kTimedRuns; ++run) {
      watch.start(stream_of(cuda));
      if (enqueue(cuda, gemm, plan, algorithm, scratch) != CUBLAS_STATUS_SUCCESS) return kNever;
      best = std::min(best, watch.stop(stream_of(cuda)));
    }
    return best;
  }

  Buffer workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

void Gemm::run(Cuda& cuda) const {
  check();
  GemmPlans::of(cuda, *this).run(cuda, *this);
}

GemmPlan gemm_plan(Cuda& cuda, const Gemm& gemm) {
  gemm.check();
  return GemmPlans::of(cuda, gemm).plan_for(cuda, gemm).info;
}

}  // namespace midfill
