#include "kernels/embedding.h"

#include <cstring>

#include "kernels/common/parallel.h"

namespace midfill {

namespace {

// Before anything is written: an op that throws leaves its outputs alone.
void require_ids(const char* op, const Tensor& ids, int64_t V) {
  const int32_t* id = ids.as<int32_t>();
  for (int64_t n = 0; n < ids.numel(); ++n)
    require(0 <= id[n] && id[n] < V, "{}: ids[{}] is {}, expected 0 to {}", op, n, id[n], V - 1);
}

}  // namespace

void EmbeddingForward::check() const {
  const char* op = "EmbeddingForward";
  expect_float(table, op, "table", 2);
  expect_rank(ids, op, "ids", DType::i32, 1);
  expect(y, op, "y", table.dtype(), {ids.dim(0), table.dim(1)});
  expect_apart(op, y, "y", table, "table");
  expect_apart(op, y, "y", ids, "ids");
}

void EmbeddingForward::run(Cpu& cpu) const {
  const int64_t N = ids.dim(0), C = table.dim(1);
  require_ids("EmbeddingForward", ids, table.dim(0));
  const int32_t* id = ids.as<int32_t>();
  const float* rows = table.as<float>();
  float* out = y.as<float>();
  parallel_ranges(cpu, N, 16, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      std::memcpy(out + n * C, rows + id[n] * C, static_cast<size_t>(C) * sizeof(float));
  });
}

void EmbeddingBackward::check() const {
  const char* op = "EmbeddingBackward";
  expect_rank(dtable, op, "dtable", DType::f32, 2);
  expect_rank(ids, op, "ids", DType::i32, 1);
  expect_float(dy, op, "dy", 2);
  expect(dy, op, "dy", dy.dtype(), {ids.dim(0), dtable.dim(1)});
  expect_apart(op, dtable, "dtable", dy, "dy");
  expect_apart(op, dtable, "dtable", ids, "ids");
}

// A thread owns a range of columns of all rows, so that rows of one id meet in ascending order.
void EmbeddingBackward::run(Cpu& cpu) const {
  const int64_t N = ids.dim(0), C = dtable.dim(1);
  require_ids("EmbeddingBackward", ids, dtable.dim(0));
  const int32_t* id = ids.as<int32_t>();
  const float* from = dy.as<float>();
  float* rows = dtable.as<float>();
  parallel_ranges(cpu, C, 64, [&](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < N; ++n) {
      float* sum = rows + id[n] * C;
      const float* grad = from + n * C;
#pragma omp simd
      for (int64_t c = begin; c < end; ++c) sum[c] += grad[c];
    }
  });
}

}  // namespace midfill
