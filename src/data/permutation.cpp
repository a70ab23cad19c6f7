#include "src/data/permutation.h"

#include <bit>

#include "kernels/common/check.h"

namespace midfill {

namespace {
constexpr int kRounds = 8;  // four for each half
}

Permutation::Permutation(uint64_t seed, Purpose purpose, uint64_t epoch, uint64_t n)
    : seed_(seed), epoch_(epoch), n_(n), purpose_(purpose) {
  require(n > 0 && n <= (uint64_t{1} << 48), "cannot permute {} elements: expected 1 to 2^48", n);
  const int bits = std::bit_width(n - 1);
  high_bits_ = bits / 2;
  low_bits_ = bits - high_bits_;
}

uint64_t Permutation::step(uint64_t x) const {
  uint64_t low = x & ((uint64_t{1} << low_bits_) - 1);
  uint64_t high = x >> low_bits_;
  for (int round = 0; round < kRounds; ++round) {
    const bool change_low = round % 2 == 0;
    const int bits = change_low ? low_bits_ : high_bits_;
    const uint32_t noise =
        Rng(seed_, purpose_, epoch_, change_low ? high : low, static_cast<uint64_t>(round))
            .bits32();
    (change_low ? low : high) ^= noise & ((uint64_t{1} << bits) - 1);
  }
  return high << low_bits_ | low;
}

uint64_t Permutation::operator()(uint64_t i) const {
  require(i < n_, "permutation of {} elements has no element {}", n_, i);
  do i = step(i);
  while (i >= n_);
  return i;
}

}  // namespace midfill
