// A keyed permutation of [0, n) that is computed element by element: no table, any order, any
// thread. An alternating Feistel network on the smallest power of two that holds n, with Philox as
// the round function, walks along its cycles until it lands below n again (Black, Rogaway, "Ciphers
// with arbitrary finite domains", CT-RSA 2002). At most two steps on average.
#pragma once

#include <cstdint>

#include "kernels/common/rng.h"

namespace midfill {

class Permutation {
 public:
  // 0 < n <= 2^48, epoch < 2^16.
  Permutation(uint64_t seed, Purpose purpose, uint64_t epoch, uint64_t n);

  // The image of i, which must be below n.
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t step(uint64_t x) const;

  uint64_t seed_, epoch_, n_;
  Purpose purpose_;
  int low_bits_, high_bits_;
};

}  // namespace midfill
