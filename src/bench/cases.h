// What `bench kernels` measures: every op, forward and backward, in the shapes of one model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/bench/operands.h"
#include "src/bench/timing.h"

namespace midfill {

// The sizes of a model and of its micro-batch, in the letters of docs/notation.md. The defaults are
// FIM-1.3B with a micro-batch of 8 samples.
struct Shape {
  int64_t B = 8, T = 2048, C = 2048, NH = 16, R = 128, F = 8192, V = 50280;
  int64_t chunk = 4096;    // rows of logits at once
  int64_t n = 1414647808;  // parameters

  // The model of docs/performance.md, which a CPU measures in seconds.
  static Shape small();
  // Enough to show that each op runs.
  static Shape tiny();

  int64_t N() const { return B * T; }
  int64_t HS() const { return C / NH; }
  int64_t Vp() const { return (V + 63) / 64 * 64; }

  // Each "C=1024". Throws Error for what is no size, and for sizes that do not go together.
  void set(const std::vector<std::string>& assignments);
};

struct Case {
  std::string op;       // "layernorm backward"
  std::string variant;  // what else the work is: "bias residual"
  std::vector<std::pair<std::string, int64_t>> dims;
  DType dtype = DType::f32;    // of activations and weights
  double flop = 0, bytes = 0;  // by the contract of the op
  bool compute_bound = false;  // else by memory
  std::function<Work(Operands&)> make;
  std::function<Work(Operands&)> make_plain;  // matrix products alone; empty for other ops

  std::string shape_text() const;  // "N=16384 I=2048 O=6144 bias"
};

// The words that choose ops: "embedding", "layernorm", ...
std::vector<std::string_view> kernel_ops();
// The cases of the ops named, in their order; of all ops where none is named. Throws Error for an
// unknown name.
std::vector<Case> kernel_cases(const std::vector<std::string>& ops, const Shape& shape,
                               DType dtype);

}  // namespace midfill
