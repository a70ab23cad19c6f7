#include "kernels/common/cuda_checks.h"
#include "kernels/common/launch.h"
#include "kernels/common/sort_positions.cuh"
#include "kernels/common/vector8.cuh"
#include "kernels/embedding.h"

namespace midfill {

namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;

// --- Forward: a warp a row. `width` of a row in units of 16 bytes, whatever the dtype.

__global__ void __launch_bounds__(kThreads)
    copy_rows(uint4* y, const int32_t* ids, const uint4* table, int64_t N, int64_t V,
              int64_t width) {
  const int64_t n = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (n >= N) return;
  const int32_t id = ids[n];
  const bool known = 0 <= id && id < V;
  constexpr unsigned kNan = 0xffffffffu;  // in f32, and twice in bf16
  for (int64_t i = threadIdx.x % 32; i < width; i += 32)
    __stwb(&y[n * width + i], known ? table[id * width + i] : make_uint4(kNan, kNan, kNan, kNan));
}

// --- Backward: the rows in the order of their ids are cut into pieces of kPiece. A warp sums the
// rows of a piece, 256 columns of them, one run of equal ids after the other. A run within a piece
// goes to its row of dtable. Of one that crosses a border, each piece leaves a sum: the piece where
// it begins its `tail`, the others their `head`; a second kernel adds those.

constexpr int kPiece = 32;
constexpr int kColumns = 8 * 32;  // of a warp

struct Runs {
  SortedPositions sorted;
  int64_t N, V, C;
  float* sums;  // (pieces, 2, C): head and tail

  __host__ __device__ int64_t pieces() const { return (N + kPiece - 1) / kPiece; }
  __host__ __device__ int64_t tiles() const { return (C + kColumns - 1) / kColumns; }
  unsigned grid() const { return blocks_of(pieces() * tiles(), kWarps); }

  // Of the running warp; piece() >= pieces() where it has none. A lane has eight columns.
  __device__ int64_t warp() const { return int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; }
  __device__ int64_t piece() const { return warp() / tiles(); }
  __device__ int64_t column() const { return warp() % tiles() * kColumns + threadIdx.x % 32 * 8; }

  // The id at a place of the order; -1 outside of it.
  __device__ int32_t id(int64_t place) const {
    return 0 <= place && place < N ? sorted.ids[place] : -1;
  }
  __device__ float* head(int64_t piece) const { return sums + 2 * piece * C; }
  __device__ float* tail(int64_t piece) const { return sums + (2 * piece + 1) * C; }
};

// dtable[c] += sum, eight columns.
__device__ __forceinline__ void add8(float* dtable, const float (&sum)[8]) {
  float row[8];
  load8(row, dtable);
  SIMT_UNROLL
  for (int i = 0; i < 8; ++i) row[i] += sum[i];
  store8(dtable, row);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) sum_pieces(float* dtable, const T* dy, Runs runs) {
  const int64_t piece = runs.piece(), column = runs.column();
  if (piece >= runs.pieces() || column >= runs.C) return;
  const int64_t begin = piece * kPiece, end = min(begin + kPiece, runs.N);
  bool from_before = runs.id(begin - 1) == runs.id(begin);
  float sum[8] = {};
  for (int64_t place = begin; place < end; ++place) {
    const int32_t id = runs.id(place);
    if (id >= runs.V) return;  // ids outside of the table come last
    float row[8];
    load8(row, dy + runs.sorted.positions[place] * runs.C + column);
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) sum[i] += row[i];
    const bool goes_on = runs.id(place + 1) == id;
    if (goes_on && place + 1 < end) continue;
    if (from_before)
      store8(runs.head(piece) + column, sum);
    else if (goes_on)
      store8(runs.tail(piece) + column, sum);
    else
      add8(dtable + id * runs.C + column, sum);
    from_before = false;
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) sum[i] = 0.0f;
  }
}

// The warp of the piece where a run begins that crosses its end.
__global__ void __launch_bounds__(kThreads) join_pieces(float* dtable, Runs runs) {
  const int64_t piece = runs.piece(), column = runs.column();
  if (piece >= runs.pieces() || column >= runs.C) return;
  const int64_t begin = piece * kPiece, end = begin + kPiece;
  const int32_t id = runs.id(end - 1);
  if (id < 0 || id >= runs.V || runs.id(end) != id || runs.id(begin - 1) == id) return;
  float part[8];
  double sum[8];
  load8(part, runs.tail(piece) + column);
  SIMT_UNROLL
  for (int i = 0; i < 8; ++i) sum[i] = static_cast<double>(part[i]);
  for (int64_t next = piece + 1; runs.id(next * kPiece) == id; ++next) {
    load8(part, runs.head(next) + column);
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) sum[i] += static_cast<double>(part[i]);
  }
  SIMT_UNROLL
  for (int i = 0; i < 8; ++i) part[i] = static_cast<float>(sum[i]);
  add8(dtable + id * runs.C + column, part);
}

}  // namespace

void EmbeddingForward::run(Cuda& cuda) const {
  const int64_t N = ids.dim(0), V = table.dim(0), C = table.dim(1);
  require_multiple_of_8("EmbeddingForward", "width", C);
  launch<copy_rows>({.grid = blocks_of(N, kWarps), .block = kThreads, .stream = stream_of(cuda)},
                    static_cast<uint4*>(y.data()), ids.as<int32_t>(),
                    static_cast<const uint4*>(table.data()), N, V, C * size_of(table.dtype()) / 16);
}

void EmbeddingBackward::run(Cuda& cuda) const {
  const int64_t N = ids.dim(0), V = dtable.dim(0), C = dtable.dim(1);
  require_multiple_of_8("EmbeddingBackward", "width", C);
  Runs runs{.sorted = {}, .N = N, .V = V, .C = C, .sums = nullptr};
  const size_t sums_bytes = static_cast<size_t>(runs.pieces() * 2 * C) * sizeof(float);
  runs.sums = static_cast<float*>(cuda.workspace(sums_bytes + sort_bytes(N)));
  runs.sorted = sort_positions(cuda, ids.as<int32_t>(), N, static_cast<int32_t>(V),
                               reinterpret_cast<char*>(runs.sums) + sums_bytes);
  const Launch over_pieces{.grid = runs.grid(), .block = kThreads, .stream = stream_of(cuda)};
  if (dy.dtype() == DType::bf16)
    launch<sum_pieces<__nv_bfloat16>>(over_pieces, dtable.as<float>(), dy.as<__nv_bfloat16>(),
                                      runs);
  else
    launch<sum_pieces<float>>(over_pieces, dtable.as<float>(), dy.as<float>(), runs);
  launch<join_pieces>(over_pieces, dtable.as<float>(), runs);
}

}  // namespace midfill
