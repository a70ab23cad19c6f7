// mma.sync m16n8k16: the map from lanes and registers to matrix elements, the arithmetic, and the
// ways in which ldmatrix feeds it.
#include <cmath>
#include <limits>

#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

constexpr int M = 16, N = 8, K = 16;

// Fragments gathered element by element, as the contract lists them.
__global__ void multiply(const uint16_t* A, const uint16_t* B, const float* C, float* D) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto pair = [](uint32_t first, uint32_t second) { return first | second << 16; };
  const auto a_pair = [&](int m, int k) { return pair(A[m * K + k], A[m * K + k + 1]); };
  const auto b_pair = [&](int k, int n) { return pair(B[k * N + n], B[(k + 1) * N + n]); };
  const uint32_t a[4] = {a_pair(g, 2 * t), a_pair(g + 8, 2 * t), a_pair(g, 2 * t + 8),
                         a_pair(g + 8, 2 * t + 8)};
  float d[4] = {C[g * N + 2 * t], C[g * N + 2 * t + 1], C[(g + 8) * N + 2 * t],
                C[(g + 8) * N + 2 * t + 1]};
  ptx::mma_m16n8k16(d, a, b_pair(2 * t, g), b_pair(2 * t + 8, g));
  D[g * N + 2 * t] = d[0];
  D[g * N + 2 * t + 1] = d[1];
  D[(g + 8) * N + 2 * t] = d[2];
  D[(g + 8) * N + 2 * t + 1] = d[3];
}

// Fragments by ldmatrix from row-major tiles in shared memory, as a GEMM does: B either stored
// (K,N) and transposed by the load, or stored (N,K).
template <bool kBTransposed>
__global__ void multiply_tiles(const uint16_t* A, const uint16_t* B, const float* C, float* D) {
  SIMT_SHARED(uint4, a_tile, [M * K / 8]);
  SIMT_SHARED(uint4, b_tile, [K * N / 8]);
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  a_tile[lane] = reinterpret_cast<const uint4*>(A)[lane];
  if (lane < K * N / 8) b_tile[lane] = reinterpret_cast<const uint4*>(B)[lane];
  __syncthreads();
  uint32_t a[4], b[2];
  ptx::ldmatrix(a, reinterpret_cast<const uint16_t*>(a_tile) + lane % 16 * K + lane / 16 * 8);
  const auto* b_rows = reinterpret_cast<const uint16_t*>(b_tile);
  if constexpr (kBTransposed)
    ptx::ldmatrix(b, b_rows + lane % 8 * K + lane / 8 % 2 * 8);
  else
    ptx::ldmatrix_trans(b, b_rows + lane % 16 * N);
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = C[(g + i / 2 * 8) * N + 2 * t + i % 2];
  ptx::mma_m16n8k16(d, a, b[0], b[1]);
  for (int i = 0; i < 4; ++i) D[(g + i / 2 * 8) * N + 2 * t + i % 2] = d[i];
}

// D = (A S) B, with S (K,16) and B (16,N): the product A S goes from the registers of its two tiles
// straight into the A of the next product.
__global__ void multiply_twice(const uint16_t* A, const uint16_t* S, const uint16_t* B, float* D) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto pair = [](const uint16_t* x, int step) { return x[0] | uint32_t{x[step]} << 16; };
  const uint32_t a[4] = {pair(A + g * K + 2 * t, 1), pair(A + (g + 8) * K + 2 * t, 1),
                         pair(A + g * K + 2 * t + 8, 1), pair(A + (g + 8) * K + 2 * t + 8, 1)};
  uint32_t p[4];
  for (int tile = 0; tile < 2; ++tile) {
    const uint16_t* s = S + tile * 8 + g;
    float d[4] = {};
    ptx::mma_m16n8k16(d, a, pair(s + 2 * t * 16, 16), pair(s + (2 * t + 8) * 16, 16));
    p[2 * tile] = ptx::pack_bf16x2(d[0], d[1]);
    p[2 * tile + 1] = ptx::pack_bf16x2(d[2], d[3]);
  }
  float d[4] = {};
  ptx::mma_m16n8k16(d, p, pair(B + 2 * t * N + g, N), pair(B + (2 * t + 8) * N + g, N));
  for (int i = 0; i < 4; ++i) D[(g + i / 2 * 8) * N + 2 * t + i % 2] = d[i];
}

float to_float(uint16_t bf16) {
  const uint32_t bits = uint32_t{bf16} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
// Of a value that bf16 holds exactly.
uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof x);
  return static_cast<uint16_t>(bits >> 16);
}

struct Problem {
  std::vector<uint16_t> A = std::vector<uint16_t>(M * K), B = std::vector<uint16_t>(K * N);
  std::vector<float> C = std::vector<float>(M * N);

  double product(int m, int n) const {
    double sum = C[m * N + n];
    for (int k = 0; k < K; ++k) sum += double{to_float(A[m * K + k])} * to_float(B[k * N + n]);
    return sum;
  }
  double magnitude(int m, int n) const {
    double sum = std::fabs(C[m * N + n]);
    for (int k = 0; k < K; ++k)
      sum += std::fabs(double{to_float(A[m * K + k])} * to_float(B[k * N + n]));
    return sum;
  }
};

std::vector<float> solve(const Problem& p) {
  Array<uint16_t> A(p.A), B(p.B);
  Array<float> C(p.C), D(M * N);
  launch<multiply>({.grid = 1, .block = 32}, A.data(), B.data(), C.data(), D.data());
  return D.host();
}

// Integers up to 127: every sum is exact, whatever its order.
Problem integers(uint64_t seed) {
  Rng rng(seed, Purpose::kTest);
  const auto integer = [&] { return static_cast<float>(rng.below(255)) - 127; };
  Problem p;
  for (uint16_t& x : p.A) x = to_bf16(integer());
  for (uint16_t& x : p.B) x = to_bf16(integer());
  for (float& x : p.C) x = integer() * 1001;
  return p;
}

void expect_exact(const Problem& p, const std::vector<float>& got) {
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n)
      EXPECT_EQ(got[m * N + n], p.product(m, n)) << "D(" << m << ", " << n << ")";
}

using Mma = Conformance;

TEST_F(Mma, EveryElementHasItsPlace) {
  run([&] {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      const Problem p = integers(seed);
      expect_exact(p, solve(p));
    }
  });
}

TEST_F(Mma, FragmentsFromLdmatrix) {
  run([&] {
    const Problem p = integers(5);
    std::vector<uint16_t> transposed(N * K);
    for (int k = 0; k < K; ++k)
      for (int n = 0; n < N; ++n) transposed[n * K + k] = p.B[k * N + n];
    Array<uint16_t> A(p.A), B(p.B), B_transposed(transposed);
    Array<float> C(p.C), D(M * N), E(M * N);
    launch<multiply_tiles<false>>({.grid = 1, .block = 32}, A.data(), B.data(), C.data(), D.data());
    expect_exact(p, D.host());
    launch<multiply_tiles<true>>({.grid = 1, .block = 32}, A.data(), B_transposed.data(), C.data(),
                                 E.data());
    expect_exact(p, E.host());
  });
}

TEST_F(Mma, AProductFeedsTheNext) {
  Rng rng(11, Purpose::kTest);
  // -1, 0 and 1: the first product, up to 16, is exact in bf16.
  const auto signs = [&](size_t n) {
    std::vector<uint16_t> x(n);
    for (uint16_t& v : x) v = to_bf16(static_cast<float>(rng.below(3)) - 1);
    return x;
  };
  const std::vector<uint16_t> left = signs(M * K), middle = signs(K * 16), right = signs(16 * N);
  run([&] {
    Array<uint16_t> A(left), S(middle), B(right);
    Array<float> D(M * N);
    launch<multiply_twice>({.grid = 1, .block = 32}, A.data(), S.data(), B.data(), D.data());
    const std::vector<float> got = D.host();
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        float expected = 0;
        for (int j = 0; j < 16; ++j)
          for (int k = 0; k < K; ++k)
            expected += to_float(left[m * K + k]) * to_float(middle[k * 16 + j]) *
                        to_float(right[j * N + n]);
        EXPECT_EQ(got[m * N + n], expected) << "D(" << m << ", " << n << ")";
      }
  });
}

TEST_F(Mma, SumsInFloat) {
  run([&] {
    Rng rng(6, Purpose::kTest);
    Problem p;
    for (uint16_t& x : p.A) x = to_bf16(static_cast<float>(rng.normal()));
    for (uint16_t& x : p.B) x = to_bf16(static_cast<float>(rng.normal()));
    for (float& x : p.C) x = static_cast<float>(rng.normal());
    const std::vector<float> got = solve(p);
    // 17 terms, each rounded or truncated to 24 bits of the largest partial sum.
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n)
        EXPECT_LE(std::fabs(got[m * N + n] - p.product(m, n)), 17 * 0x1p-23 * p.magnitude(m, n))
            << "D(" << m << ", " << n << ")";
  });
}

TEST_F(Mma, InfinityAndNanStayInTheirRows) {
  run([&] {
    Problem p = integers(7);
    for (uint16_t& x : p.B) x = to_bf16(to_float(x) < 0 ? -1.0f : 1.0f);
    p.A[3 * K + 5] = 0x7fa5;   // a NaN with a payload
    p.A[9 * K + 0] = 0x7f80;   // +inf
    p.A[12 * K + 2] = 0x7f80;  // +inf - inf
    p.A[12 * K + 3] = 0xff80;
    p.B[2 * N + 1] = p.B[3 * N + 1] = to_bf16(1.0f);
    const std::vector<float> got = solve(p);
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        const double expected = p.product(m, n);
        const float found = got[m * N + n];
        EXPECT_TRUE(std::isnan(expected) ? std::isnan(found) : found == expected)
            << "D(" << m << ", " << n << ") is " << found << ", expected " << expected;
      }
    EXPECT_TRUE(std::isnan(got[3 * N + 1]));
    EXPECT_TRUE(std::isinf(got[9 * N + 1]));
    EXPECT_TRUE(std::isnan(got[12 * N + 1]));
  });
}

TEST_F(Mma, SubnormalInputsCount) {
  run([&] {
    Problem p;
    for (int m = 0; m < M; ++m) p.A[m * K + m] = static_cast<uint16_t>(m + 1);  // (m + 1) 2^-133
    for (uint16_t& x : p.B) x = to_bf16(0x1p+60f);
    expect_exact(p, solve(p));
  });
}

}  // namespace
}  // namespace midfill::test
