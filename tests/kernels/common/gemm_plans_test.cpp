// How products become calls of cuBLASLt (kernels/common/gemm_cublaslt.cpp), on a stand-in for it.
// gemm_test.cpp and linear_test.cpp run on the same stand-in and compare values.
#include <cublasLt.h>

#include <cstdlib>
#include <vector>

#include "kernels/common/device.h"
#include "kernels/common/gemm.h"
#include "tests/kernels/common/fake_cublaslt.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

class CublasLt : public testing::Test {
 protected:
  CublasLt() : memory_(device_.allocate(4096 * sizeof(float))) {
    fake = {};
    for (int i = 0; i < 4096; ++i) static_cast<float*>(memory_.data())[i] = 1.0f;
  }
  ~CublasLt() override { fake = {}; }

  // From the i-th float of the memory on.
  Tensor at(int64_t i, std::initializer_list<int64_t> dims) {
    return Tensor(static_cast<float*>(memory_.data()) + i, DType::f32, dims);
  }
  // d (8,16) = a (8,k) b (k,16), all ones.
  Gemm product(int64_t k = 8) {
    return {.d = at(3072, {8, 16}), .a = at(0, {8, k}), .b = at(1024, {k, 16})};
  }
  Cuda& cuda() { return device_.cuda(); }

  test::FakeCublasLt& fake = test::fake_cublaslt();

 private:
  Device device_{"cuda", 1};
  Buffer memory_;
};

TEST_F(CublasLt, KeepsTheFastestCandidate) {
  fake.candidate_ms = {3.0f, 2.0f, 2.5f};
  const Gemm gemm = product();
  gemm.run(cuda());
  EXPECT_EQ(fake.multiplied.back(), 1);
  EXPECT_GT(fake.multiplied.size(), 3u);
  fake.multiplied.clear();
  fake.candidate_ms = {0.1f, 5.0f, 0.1f};
  gemm.run(cuda());
  EXPECT_EQ(fake.multiplied, std::vector<int>{1});
  EXPECT_EQ(fake.heuristic_calls, 1);

  const GemmPlan plan = gemm_plan(cuda(), gemm);
  EXPECT_EQ(plan.candidates, 3);
  EXPECT_EQ(plan.chosen, 1);
  EXPECT_FLOAT_EQ(plan.ms, 2.0f);
  EXPECT_FLOAT_EQ(plan.first_ms, 3.0f);
}

TEST_F(CublasLt, LetsTheHeuristicDecideAmongEquals) {
  fake.candidate_ms = {1.0f, 0.995f, 1.0f};
  EXPECT_EQ(gemm_plan(cuda(), product()).chosen, 0);
}

TEST_F(CublasLt, PassesOverWhatCannotRun) {
  fake.candidate_ms = {-1.0f, 2.0f, -1.0f, 1.0f};
  EXPECT_EQ(gemm_plan(cuda(), product()).chosen, 3);
  fake.candidate_ms = {-1.0f, -1.0f};
  EXPECT_EQ(test::error_of([&] { product(16).run(cuda()); }),
            "device cuda: product (8, 16) f32 = (8, 16) (16, 16): cublasLtMatmul: not supported");
  fake.candidate_ms = {};
  EXPECT_EQ(test::error_of([&] { product(24).run(cuda()); }),
            "device cuda: product (8, 16) f32 = (8, 24) (24, 16): no kernel for it: not supported");
}

TEST_F(CublasLt, TimesOnScratchMemory) {
  Gemm gemm = product();
  gemm.add = gemm.d;
  gemm.run(cuda());
  EXPECT_GT(fake.multiplied.size(), 1u);
  for (int64_t i = 0; i < gemm.d.numel(); ++i) EXPECT_EQ(gemm.d.as<float>()[i], 9.0f);
}

TEST_F(CublasLt, TakesTheFirstCandidateWhereNothingCanBeTimed) {
  fake.capturing = true;
  product(8).run(cuda());
  fake.capturing = false;
  fake.memory_full = true;
  product(16).run(cuda());
  fake.memory_full = false;
  setenv("MIDFILL_GEMM_AUTOTUNE", "0", 1);
  product(24).run(cuda());
  unsetenv("MIDFILL_GEMM_AUTOTUNE");
  EXPECT_EQ(fake.multiplied, (std::vector<int>{0, 0, 0}));
  // They stay, so that a product repeats bit for bit.
  product(8).run(cuda());
  EXPECT_EQ(fake.multiplied, (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(gemm_plan(cuda(), product(16)).candidates, 1);
}

TEST_F(CublasLt, HasAPlanForEachShapeEpilogueAndAlignment) {
  const Gemm gemm = product();
  gemm.run(cuda());
  Gemm moved = gemm;
  moved.a = at(512, {8, 8});
  moved.d = at(2048, {8, 16});
  moved.run(cuda());
  EXPECT_EQ(fake.heuristic_calls, 1);
  int plans = 1;
  const auto is_another = [&](const Gemm& other) {
    other.run(cuda());
    return fake.heuristic_calls == ++plans;
  };
  Gemm other = gemm;
  other.transpose_a = true;  // (8, 8) either way
  EXPECT_TRUE(is_another(other));
  other = gemm;
  other.bias = at(512, {16});
  EXPECT_TRUE(is_another(other));
  other = gemm;
  other.add = gemm.d;
  EXPECT_TRUE(is_another(other));
  other = gemm;
  other.a = at(4, {8, 8});
  EXPECT_TRUE(is_another(other));
  EXPECT_TRUE(is_another(product(16)));
}

TEST_F(CublasLt, AsksForWhatTheOperandsAllow) {
  Gemm gemm = product();
  gemm.a = at(8, {8, 8});             // 32 bytes
  gemm.add = at(2048 + 16, {8, 16});  // 64 bytes
  gemm.run(cuda());
  EXPECT_EQ(fake.workspace_bytes, kGemmWorkspaceBytes);
  EXPECT_EQ(fake.reduction_schemes, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  EXPECT_EQ(fake.alignments[0], 256u);  // their A is our b
  EXPECT_EQ(fake.alignments[1], 32u);
  EXPECT_EQ(fake.alignments[2], 64u);
  EXPECT_EQ(fake.alignments[3], 256u);
}

}  // namespace
}  // namespace midfill
