// Elementary functions for the inner loops of CPU kernels: branch-free and inline, so that a loop
// over floats that calls them vectorises (with `#pragma omp simd`). libm's are more accurate, and
// one call per element.
#pragma once

#include <bit>
#include <cstdint>

namespace midfill {

// e^x within 2 ulp; 0 below -104, +inf above 88.73, NaN for NaN.
//   x = k ln 2 + r, |r| <= ln 2 / 2;  e^x = 2^k e^r, e^r by a polynomial fitted for the least
//   largest relative error
[[gnu::always_inline]] inline float fast_exp(float x) {
  // Clamped so that the exponents below exist; both comparisons are false for NaN, which therefore
  // passes.
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  // 1.5 * 2^23: the last bits of the sum are x / ln 2 rounded to nearest.
  constexpr float kRound = 12582912.0f;
  const float shifted = x * 1.44269504f + kRound;
  const float k = shifted - kRound;
  // ln 2 in two parts, the first with trailing zeros: k times it is exact.
  const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  const float tail =
      0.499999934f +
      r * (0.166665195f + r * (0.0416684011f + r * (0.00836885109f + r * 0.00138143204f)));
  const float e_r = 1.0f + (r + r * r * tail);
  // 2^k in two factors, so that results below the smallest normal number and overflow come out
  // right.
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const int32_t half = exponent >> 1;
  const float scale_1 = std::bit_cast<float>((half + 127) << 23);
  const float scale_2 = std::bit_cast<float>((exponent - half + 127) << 23);
  return e_r * scale_1 * scale_2;
}

// Phi(-z) / exp(-z^2 / 2) for z >= 0, Phi the cumulative normal distribution; relative error 2e-7
// up to z = 13. A polynomial in t = 1 / (1 + 0.3 z), which maps [0, inf) to (0, 1] and falls as the
// ratio does. With it erf(x) = 1 - 2 Phi(-x sqrt 2) costs one exponential, which the derivative of
// the GELU needs anyway.
[[gnu::always_inline]] inline float normal_tail_ratio(float z) {
  const float t = 1.0f / (1.0f + 0.3f * z);
  return t * (0.119623255f +
              t * (0.120845641f +
                   t * (0.0993464386f +
                        t * (0.130418713f +
                             t * (-0.0571716515f +
                                  t * (0.210123093f + t * (-0.159381077f + t * 0.036195532f)))))));
}

}  // namespace midfill
