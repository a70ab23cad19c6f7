#include "kernels/common/ptx_emulated.h"

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>

namespace midfill::ptx::emulated {
namespace {

struct LoadMatrices {
  uint32_t* r;
  const void* row;
  int count;
  bool transposed;
};

void load_matrices(LoadMatrices* const* lanes, unsigned /*mask*/, const simt::Site& site) {
  const int count = lanes[0]->count;
  const void* rows[simt::kWarp] = {};
  for (int i = 0; i < 8 * count; ++i) rows[i] = lanes[i]->row;
  simt::matrix_access(rows, count, simt::Access::read, site);
  for (int m = 0; m < count; ++m) {
    uint16_t x[8][8];
    for (int i = 0; i < 8; ++i) std::memcpy(x[i], rows[8 * m + i], sizeof x[i]);
    for (int lane = 0; lane < simt::kWarp; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const bool transposed = lanes[lane]->transposed;
      const uint32_t first = transposed ? x[2 * t][g] : x[g][2 * t];
      const uint32_t second = transposed ? x[2 * t + 1][g] : x[g][2 * t + 1];
      lanes[lane]->r[m] = first | second << 16;
    }
  }
}

struct Multiply {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

float low(uint32_t packed) {
  return std::bit_cast<float>(packed << 16);
}
float high(uint32_t packed) {
  return std::bit_cast<float>(packed & 0xffff0000u);
}

void multiply(Multiply* const* lanes, unsigned /*mask*/, const simt::Site& /*site*/) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < simt::kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      float* pair = &a[g + i % 2 * 8][2 * t + i / 2 * 8];
      pair[0] = low(lanes[lane]->a[i]);
      pair[1] = high(lanes[lane]->a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[2 * t + i * 8][g] = low(lanes[lane]->b[i]);
      b[2 * t + i * 8 + 1][g] = high(lanes[lane]->b[i]);
    }
  }
  float d[16][8] = {};
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
  for (int lane = 0; lane < simt::kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) lanes[lane]->d[i] += d[g + i / 2 * 8][2 * t + i % 2];
  }
}

uint32_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

}  // namespace

void ldmatrix(uint32_t* r, int count, const void* row, bool transposed, simt::Site site) {
  LoadMatrices operands{r, row, count, transposed};
  simt::warp_collective<load_matrices>(simt::kFullMask, "ldmatrix", operands, site);
}

void mma_m16n8k16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1, simt::Site site) {
  Multiply operands{d, a, {b0, b1}};
  simt::warp_collective<multiply>(simt::kFullMask, "mma.m16n8k16", operands, site);
}

float ex2(float x) {
  if (std::fabs(x) < FLT_MIN) return 1;
  const float y = std::exp2(x);
  return y < FLT_MIN ? 0 : y;
}

uint32_t pack_bf16x2(float low, float high) {
  return to_bf16(low) | to_bf16(high) << 16;
}

}  // namespace midfill::ptx::emulated
