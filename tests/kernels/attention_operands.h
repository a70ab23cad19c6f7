// Operands of the attention ops, in f32, for their tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <vector>

#include "kernels/attention.h"
#include "tests/support/numerics.h"

namespace midfill::test {

struct AttentionShape {
  int64_t B, T, NH, HS, R;
  int64_t packed() const { return B * T * NH * 3 * HS; }
  int64_t rows() const { return B * T * NH * HS; }
};

inline std::ostream& operator<<(std::ostream& out, const AttentionShape& s) {
  return out << "B" << s.B << "_T" << s.T << "_NH" << s.NH << "_HS" << s.HS << "_R" << s.R;
}

// Seeded inputs, poisoned outputs, and the ops on them. The rotary tables are left to be filled.
struct AttentionOperands {
  AttentionShape s;
  std::vector<float> cos, sin, qkv, out, lse, dout, dqkv;

  AttentionOperands(const AttentionShape& shape, double scale)
      : s(shape),
        cos(std::max<int64_t>(1, s.T * s.R / 2)),
        sin(cos.size()),
        qkv(random_floats(s.packed(), 1, scale)),
        out(poisoned(s.rows())),
        lse(poisoned(s.B * s.NH * s.T)),
        dout(random_floats(s.rows(), 2)),
        dqkv(poisoned(s.packed())) {}

  Rotary rotary() const {
    if (s.R == 0) return {};
    return {Tensor::of(cos.data(), {s.T, s.R / 2}), Tensor::of(sin.data(), {s.T, s.R / 2})};
  }
  Tensor packed(const std::vector<float>& v) const {
    return Tensor::of(v.data(), {s.B, s.T, s.NH, 3, s.HS});
  }
  Tensor rows(const std::vector<float>& v) const {
    return Tensor::of(v.data(), {s.B, s.T, s.NH, s.HS});
  }
  AttentionForward forward_op() const {
    return {.out = rows(out),
            .lse = Tensor::of(lse.data(), {s.B, s.NH, s.T}),
            .qkv = packed(qkv),
            .position = rotary()};
  }
  AttentionBackward backward_op() const {
    return {.dqkv = packed(dqkv),
            .dbias = {},
            .dout = rows(dout),
            .out = rows(out),
            .lse = Tensor::of(lse.data(), {s.B, s.NH, s.T}),
            .qkv = packed(qkv),
            .position = rotary()};
  }
};

}  // namespace midfill::test
