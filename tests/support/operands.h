// The tensors of an op, found as members of the aggregate, and copies of them that the op can run
// on in their place.
#pragma once

#include <concepts>
#include <cstdint>
#include <vector>

#include "kernels/attention.h"
#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill::test {

namespace detail {

struct Anything {
  template <typename T>
  operator T() const;  // NOLINT: stands for an initialiser of any type
};

// How many members the aggregate T has: as many as it takes initialisers.
template <typename T, typename... Initialisers>
constexpr int count_members() {
  if constexpr (requires { T{Initialisers{}..., Anything{}}; })
    return count_members<T, Initialisers..., Anything>();
  else
    return sizeof...(Initialisers);
}

template <typename Member>
void add_tensors(Member& member, std::vector<Tensor*>& to) {
  if constexpr (std::same_as<Member, Tensor>)
    to.push_back(&member);
  else if constexpr (std::same_as<Member, Rotary>)
    to.insert(to.end(), {&member.cos, &member.sin});
}

}  // namespace detail

template <typename Op>
std::vector<Tensor*> tensors_of(Op& op) {
  std::vector<Tensor*> tensors;
  const auto add = [&](auto&... members) { (detail::add_tensors(members, tensors), ...); };
  constexpr int n = detail::count_members<Op>();
  static_assert(2 <= n && n <= 20, "an op with another number of members: add a line");
#define MIDFILL_MEMBERS(count, ...) \
  if constexpr (n == count) {       \
    auto& [__VA_ARGS__] = op;       \
    add(__VA_ARGS__);               \
  }
  MIDFILL_MEMBERS(2, a, b)
  MIDFILL_MEMBERS(3, a, b, c)
  MIDFILL_MEMBERS(4, a, b, c, d)
  MIDFILL_MEMBERS(5, a, b, c, d, e)
  MIDFILL_MEMBERS(6, a, b, c, d, e, f)
  MIDFILL_MEMBERS(7, a, b, c, d, e, f, g)
  MIDFILL_MEMBERS(8, a, b, c, d, e, f, g, h)
  MIDFILL_MEMBERS(9, a, b, c, d, e, f, g, h, i)
  MIDFILL_MEMBERS(10, a, b, c, d, e, f, g, h, i, j)
  MIDFILL_MEMBERS(11, a, b, c, d, e, f, g, h, i, j, k)
  MIDFILL_MEMBERS(12, a, b, c, d, e, f, g, h, i, j, k, l)
  MIDFILL_MEMBERS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  MIDFILL_MEMBERS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, o)
  MIDFILL_MEMBERS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p)
  MIDFILL_MEMBERS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q)
  MIDFILL_MEMBERS(17, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r)
  MIDFILL_MEMBERS(18, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s)
  MIDFILL_MEMBERS(19, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s, t)
  MIDFILL_MEMBERS(20, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s, t, u)
#undef MIDFILL_MEMBERS
  return tensors;
}

// Copies of tensors in host memory: each that is there is made to point at its copy, one
// allocation for tensors that overlap. On a device where one is given, and there in bf16 for those
// of f32 that are among `narrow` (tensors that overlap must agree).
class OperandCopies {
 public:
  OperandCopies(const std::vector<Tensor*>& tensors, const std::vector<Tensor*>& narrow,
                Device* device);
  // The bytes of the originals become those of the copies where they differ. Not for narrow ones.
  void bring_back();
  // The elements of a copy, in f32, wherever it is.
  std::vector<float> floats_of(const Tensor& copy);

 private:
  struct Block {
    char *begin, *end;  // of the originals
    bool narrow = false;
    Buffer memory;
    Tensor flat;  // all of it
  };
  Device* device_;
  std::vector<Block> blocks_;
};

// Elements of a tensor in host memory, of f32, f64 or bf16.
std::vector<float> to_floats(const Tensor& t);
// Rounds the elements of a tensor of f32 in host memory to bf16.
void round_to_bf16(const Tensor& t);

}  // namespace midfill::test
