// Forward: a row is one warp's and stays in its registers: x is read once, the variance is
// two-pass, and nothing is exchanged but by shuffles.
//
// Backward has to read dy, x and residual once and write dx (16 bytes an element in f32, 8 in
// bf16), while the sums over rows want every row of a column in one place. A warp a row would keep
// those sums in shared memory, at more traffic there than the row has. So a block takes whole rows
// and a thread eight columns of them: the sums over rows, and gamma, stay in the thread's
// registers, and what is exchanged is two sums for each row. kRows rows are under way at once:
// their loads are all issued before the first is used (12 of 16 bytes a thread), and they share one
// barrier.
//
// That makes memory the limit, by reckoning and not yet by measurement, for 2048 columns in bf16 on
// an H100, whose 3 TB/s are 13 bytes a clock and multiprocessor: two blocks of 256 threads have up
// to 96 KB in flight, where 3 TB/s at a latency of 800 ns need 18 KB; the memory's time for the
// four rows of a block is 10,000 clocks, beside which one latency, nine shuffles, a barrier and 64
// elements' arithmetic (about 2500) can hide. The partial rows are 5 % of the traffic and stay in
// L2 for the most part.
#include "kernels/layernorm.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "kernels/common/column_sums.cuh"
#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/vector8.cuh"
#include "kernels/common/warp_sums.cuh"

namespace midfill {

namespace {

// Eight elements as they are in memory: 4 registers in bf16, not 8.
template <typename T>
struct Packed {
  uint4 words[sizeof(T) / 2];

  __device__ __forceinline__ void load(const T* from) {
    SIMT_UNROLL
    for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i)
      words[i] = reinterpret_cast<const uint4*>(from)[i];
  }
  __device__ __forceinline__ float operator[](int j) const {
    const uint4& w = words[j * sizeof(T) / 16];
    const int i = j * static_cast<int>(sizeof(T)) % 16 / 4;
    const uint32_t word = i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w;
    if constexpr (std::is_same_v<T, float>)
      return __uint_as_float(word);
    else
      return j % 2 == 0 ? ptx::low_bf16(word) : ptx::high_bf16(word);
  }
};

// ---- forward

constexpr int kForwardWarps = 4;
constexpr int kWarpColumns = 32 * 8;  // of one vector for each lane

template <typename T>
__device__ __forceinline__ void scale_and_shift(T* y, const float (&xhat)[8], const T* gamma,
                                                const T* beta) {
  float by[8], plus[8];
  load8(by, gamma);
  load8(plus, beta);
  SIMT_UNROLL
  for (int j = 0; j < 8; ++j) by[j] = xhat[j] * by[j] + plus[j];
  store8(y, by);
}

// Blocks a multiprocessor that leave registers for the row (kVectors * 2 * sizeof(T) of them) and
// the rest. Without the number, ptxas aims at more blocks and spills.
template <typename T, int kVectors>
constexpr int kForwardBlocks = kVectors * 2 * sizeof(T) <= 80 ? 4 : 2;

// One row a warp. kVectors vectors of 8 columns a lane hold a row of up to kVectors * 256; with
// kVectors = 0 a row of any length is read three times, twice of them from L1 or L2.
template <typename T, int kVectors>
__global__ void __launch_bounds__(kForwardWarps * 32, kForwardBlocks<T, kVectors>)
    forward_rows(T* y, T* y2, float* mean, float* rstd, const T* __restrict__ x,
                 const T* __restrict__ gamma, const T* __restrict__ beta,
                 const T* __restrict__ gamma2, const T* __restrict__ beta2, int64_t N, int C,
                 float eps) {
  const int lane = threadIdx.x % 32;
  const int64_t n = int64_t{blockIdx.x} * kForwardWarps + threadIdx.x / 32;
  if (n >= N) return;
  const T* row = x + n * C;

  [[maybe_unused]] Packed<T> kept[kVectors > 0 ? kVectors : 1] = {};
  if constexpr (kVectors > 0) {
    SIMT_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      const int c = i * kWarpColumns + 8 * lane;
      if (c < C) kept[i].load(row + c);
    }
  }
  // Calls body(c, values) for each vector of the lane.
  const auto for_each_vector = [&](const auto& body) {
    if constexpr (kVectors > 0) {
      SIMT_UNROLL
      for (int i = 0; i < kVectors; ++i) {
        const int c = i * kWarpColumns + 8 * lane;
        if (c < C) body(c, kept[i]);
      }
    } else {
      for (int c = 8 * lane; c < C; c += kWarpColumns) {
        Packed<T> values;
        values.load(row + c);
        body(c, values);
      }
    }
  };

  float sum = 0;
  for_each_vector([&](int, const Packed<T>& v) {
    sum += ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
  });
  const float m = warp_sum(sum) / static_cast<float>(C);
  float squares = 0;
  for_each_vector([&](int, const Packed<T>& v) {
    SIMT_UNROLL
    for (int j = 0; j < 8; ++j) squares += (v[j] - m) * (v[j] - m);
  });
  const float r = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(C) + eps);
  for_each_vector([&](int c, const Packed<T>& v) {
    float xhat[8];
    SIMT_UNROLL
    for (int j = 0; j < 8; ++j) xhat[j] = (v[j] - m) * r;
    scale_and_shift(y + n * C + c, xhat, gamma + c, beta + c);
    if (y2) scale_and_shift(y2 + n * C + c, xhat, gamma2 + c, beta2 + c);
  });
  if (lane == 0) {
    mean[n] = m;
    rstd[n] = r;
  }
}

template <typename T>
void forward(Cuda& cuda, const LayerNormForward& op) {
  const int64_t N = op.x.dim(0), C = op.x.dim(1);
  const auto as = [](const Tensor& t) { return t ? t.as<T>() : nullptr; };
  const auto run = [&](auto vectors) {
    launch<forward_rows<T, vectors()>>({.grid = blocks_of(N, kForwardWarps),
                                        .block = kForwardWarps * 32,
                                        .stream = stream_of(cuda)},
                                       as(op.y), as(op.y2), op.mean.as<float>(),
                                       op.rstd.as<float>(), as(op.x), as(op.gamma), as(op.beta),
                                       as(op.gamma2), as(op.beta2), N, C, op.eps);
  };
  // The first of these that holds a row.
  const auto run_first = [&]<int... kVectors>(std::integer_sequence<int, kVectors...>) {
    return (
        (C <= kVectors * kWarpColumns && (run(std::integral_constant<int, kVectors>{}), true)) ||
        ...);
  };
  if (!run_first(std::integer_sequence<int, 1, 2, 4, 6, 8, 10, 16, 20>{}))
    run(std::integral_constant<int, 0>{});
}

// ---- backward

constexpr int kMaxThreads = 512;  // of a block: 4096 columns
constexpr int kMaxWarps = kMaxThreads / 32;
constexpr int kStatsWarps = 4;

// The operands of kNorms norms of the same x.
template <typename T, int kNorms>
struct Norms {
  const T* dy[kNorms];
  const T* gamma[kNorms];
};

// For each row: sum of g, sum of g * xhat.
struct __align__(8) RowSums {
  float g, gx;
};

// One row a warp; for rows that are too long for a block.
template <typename T, int kNorms>
__global__ void __launch_bounds__(kStatsWarps * 32)
    sum_rows(RowSums* sums, Norms<T, kNorms> norms, const T* x, const float* mean,
             const float* rstd, int64_t N, int C) {
  const int lane = threadIdx.x % 32;
  const int64_t n = int64_t{blockIdx.x} * kStatsWarps + threadIdx.x / 32;
  if (n >= N) return;
  const float m = mean[n], r = rstd[n];
  float sum_g = 0, sum_gx = 0;
  for (int c = 8 * lane; c < C; c += kWarpColumns) {
    float in[8];
    load8(in, x + n * C + c);
    SIMT_UNROLL
    for (int k = 0; k < kNorms; ++k) {
      float dy[8], gamma[8];
      load8(dy, norms.dy[k] + n * C + c);
      load8(gamma, norms.gamma[k] + c);
      SIMT_UNROLL
      for (int j = 0; j < 8; ++j) {
        const float g = dy[j] * gamma[j];
        sum_g += g;
        sum_gx += g * ((in[j] - m) * r);
      }
    }
  }
  sum_g = warp_sum(sum_g);
  sum_gx = warp_sum(sum_gx);
  if (lane == 0) sums[n] = {sum_g, sum_gx};
}

// The block's rows: blockIdx.x * rows and the `rows` behind it, kRows at a time; its columns: all
// of them, or with kLong the blockIdx.y-th kMaxThreads * 8, and then the sums of each row are known
// (row_sums). `partials` are matrices (blocks, C): of each norm dgamma and dbeta, then dbias, which
// is wanted where `with_bias`.
template <typename T, int kNorms, int kRows, bool kLong>
__global__ void __launch_bounds__(kMaxThreads)
    backward_rows(T* dx, float* partials, bool with_bias, Norms<T, kNorms> norms,
                  const T* __restrict__ x, const float* __restrict__ mean,
                  const float* __restrict__ rstd, const T* residual,
                  const RowSums* __restrict__ row_sums, int64_t N, int C, int rows) {
  struct alignas(8 * kRows) Group {
    float sums[2 * kRows];  // of g, then of g * xhat
  };
  SIMT_SHARED(Group, shared, [2][kMaxWarps]);  // even and odd groups, so that one barrier is enough
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int c = (blockIdx.y * blockDim.x + threadIdx.x) * 8;
  const bool active = c < C;
  const float share = 1.0f / static_cast<float>(C);

  float gamma[kNorms][8] = {}, dgamma[kNorms][8] = {}, dbeta[kNorms][8] = {}, dbias[8] = {};
  if (active) {
    SIMT_UNROLL
    for (int k = 0; k < kNorms; ++k) load8(gamma[k], norms.gamma[k] + c);
  }

  const int64_t begin = int64_t{blockIdx.x} * rows, end = min(N, begin + rows);
  for (int64_t first = begin, odd = 0; first < end; first += kRows, odd ^= 1) {
    Packed<T> in[kRows] = {}, dy[kRows][kNorms] = {}, past[kRows] = {};
    float m[kRows] = {}, r[kRows] = {};
    SIMT_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int64_t n = first + i, at = n * C + c;
      if (n >= end) break;
      m[i] = mean[n];
      r[i] = rstd[n];
      if (!active) continue;
      in[i].load(x + at);
      SIMT_UNROLL
      for (int k = 0; k < kNorms; ++k) dy[i][k].load(norms.dy[k] + at);
      if (residual) past[i].load(residual + at);
    }

    float sums[2 * kRows] = {};
    SIMT_UNROLL
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= end || !active) break;
      SIMT_UNROLL
      for (int j = 0; j < 8; ++j) {
        const float xhat = (in[i][j] - m[i]) * r[i];
        SIMT_UNROLL
        for (int k = 0; k < kNorms; ++k) {
          const float d = dy[i][k][j], g = d * gamma[k][j];
          sums[i] += g;
          sums[kRows + i] += g * xhat;
          dgamma[k][j] += d * xhat;
          dbeta[k][j] += d;
        }
      }
    }
    if constexpr (kLong) {
      SIMT_UNROLL
      for (int i = 0; i < kRows; ++i) {
        if (first + i >= end) break;
        const RowSums of_row = row_sums[first + i];
        sums[i] = of_row.g;
        sums[kRows + i] = of_row.gx;
      }
    } else {
      constexpr int kShare = 32 / (2 * kRows);  // lanes that hold the same sum
      const float sum = warp_sums(sums);
      if (lane % kShare == 0) shared[odd][warp].sums[lane / kShare] = sum;
      __syncthreads();
      Group total = shared[odd][0];
      for (int w = 1; w < warps; ++w) {
        const Group more = shared[odd][w];
        SIMT_UNROLL
        for (int i = 0; i < 2 * kRows; ++i) total.sums[i] += more.sums[i];
      }
      SIMT_UNROLL
      for (int i = 0; i < 2 * kRows; ++i) sums[i] = total.sums[i];
    }

    SIMT_UNROLL
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= end || !active) break;
      const float mean_g = sums[i] * share, mean_gx = sums[kRows + i] * share;
      float out[8];
      SIMT_UNROLL
      for (int j = 0; j < 8; ++j) {
        const float xhat = (in[i][j] - m[i]) * r[i];
        float g = 0;
        SIMT_UNROLL
        for (int k = 0; k < kNorms; ++k) g += dy[i][k][j] * gamma[k][j];
        out[j] = r[i] * (g - mean_g - xhat * mean_gx);
        if (residual) out[j] += past[i][j];
        dbias[j] += out[j];
      }
      store8(dx + (first + i) * C + c, out);
    }
  }

  if (!active) return;
  const int64_t matrix = int64_t{gridDim.x} * C;
  float* to = partials + int64_t{blockIdx.x} * C + c;
  SIMT_UNROLL
  for (int k = 0; k < kNorms; ++k) {
    store8(to + 2 * k * matrix, dgamma[k]);
    store8(to + (2 * k + 1) * matrix, dbeta[k]);
  }
  if (with_bias) store8(to + 2 * kNorms * matrix, dbias);
}

// Rows for each block: what leaves 512 threads for each of 132 multiprocessors (256 blocks of 2048
// columns), so that all blocks run at once; a function of the shapes alone, since it decides the
// order of sums.
int rows_of_block(int64_t N, int64_t C) {
  const int64_t blocks = std::clamp<int64_t>(256 * 2048 / C, 256, 1024);
  return static_cast<int>((N + 4 * blocks - 1) / (4 * blocks) * 4);
}

template <typename T, int kNorms>
void backward(Cuda& cuda, const LayerNormBackward& op) {
  constexpr int kRows = 8 / static_cast<int>(sizeof(T)) / kNorms;  // 48 registers or less
  const int64_t N = op.x.dim(0), C = op.x.dim(1);
  const int rows = rows_of_block(N, C);
  const unsigned blocks = blocks_of(N, rows);
  Norms<T, kNorms> norms{};
  norms.dy[0] = op.dy.as<T>();
  norms.gamma[0] = op.gamma.as<T>();
  if constexpr (kNorms == 2) {
    norms.dy[1] = op.dy2.as<T>();
    norms.gamma[1] = op.gamma2.as<T>();
  }
  const T* in = op.x.as<T>();
  const T* residual = op.residual ? op.residual.as<T>() : nullptr;
  const float *mean = op.mean.as<float>(), *rstd = op.rstd.as<float>();
  const bool with_bias = static_cast<bool>(op.dbias);
  const bool is_long = C > kMaxThreads * 8;

  const int64_t matrix = blocks * C, matrices = 2 * kNorms + (with_bias ? 1 : 0);
  auto* partials = static_cast<float*>(cuda.workspace(
      static_cast<size_t>(matrices * matrix + (is_long ? 2 * N : 0)) * sizeof(float)));
  auto* row_sums = reinterpret_cast<RowSums*>(partials + matrices * matrix);
  const auto run = [&](auto kernel_is_long, const Launch& how) {
    launch<backward_rows<T, kNorms, kRows, kernel_is_long()>>(how, op.dx.as<T>(), partials,
                                                              with_bias, norms, in, mean, rstd,
                                                              residual, row_sums, N, C, rows);
  };
  if (is_long) {
    launch<sum_rows<T, kNorms>>(
        {.grid = blocks_of(N, kStatsWarps), .block = kStatsWarps * 32, .stream = stream_of(cuda)},
        row_sums, norms, in, mean, rstd, N, C);
    run(std::true_type{}, {.grid = dim3(blocks, blocks_of(C, kMaxThreads * 8)),
                           .block = kMaxThreads,
                           .stream = stream_of(cuda)});
  } else {
    run(std::false_type{},
        {.grid = blocks, .block = blocks_of(C, kWarpColumns) * 32, .stream = stream_of(cuda)});
  }

  float* sums[kMaxSums];
  int count = 0;
  for (const Tensor* sum : {&op.dgamma, &op.dbeta, &op.dgamma2, &op.dbeta2, &op.dbias})
    if (*sum) sums[count++] = sum->as<float>();
  add_column_sums(cuda, partials, blocks, C, std::span<float* const>(sums, count));
}

}  // namespace

void LayerNormForward::run(Cuda& cuda) const {
  require_multiple_of_8("LayerNormForward", "width", x.dim(1));
  x.dtype() == DType::f32 ? forward<float>(cuda, *this) : forward<__nv_bfloat16>(cuda, *this);
}

void LayerNormBackward::run(Cuda& cuda) const {
  require_multiple_of_8("LayerNormBackward", "width", x.dim(1));
  const auto run_as = [&]<typename T>() {
    dy2 ? backward<T, 2>(cuda, *this) : backward<T, 1>(cuda, *this);
  };
  x.dtype() == DType::f32 ? run_as.operator()<float>() : run_as.operator()<__nv_bfloat16>();
}

}  // namespace midfill
