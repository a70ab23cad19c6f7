#include "kernels/common/rng.h"

#include <cmath>
#include <numbers>

#include "kernels/common/check.h"

namespace midfill {

__extension__ typedef unsigned __int128 uint128;

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

Rng::Rng(uint64_t seed, Purpose purpose, uint64_t epoch, uint64_t sample, uint64_t segment) {
  require(epoch < (1u << 16) && sample < (uint64_t{1} << 48) && segment < (uint64_t{1} << 32),
          "random stream out of range: epoch {}, sample {}, segment {}", epoch, sample, segment);
  // The purpose goes through the cipher once, so that related seeds do not give related keys.
  const auto key = philox4x32({static_cast<uint32_t>(purpose), 0, 0, 0},
                              {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  key_ = {key[0], key[1]};
  counter_ = {0, static_cast<uint32_t>(segment), static_cast<uint32_t>(sample),
              static_cast<uint32_t>(sample >> 32 | epoch << 16)};
}

uint32_t Rng::bits32() {
  if (used_ == 4) {
    block_ = philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t Rng::bits64() {
  const uint64_t low = bits32();
  return low | uint64_t{bits32()} << 32;
}

double Rng::uniform() {
  return static_cast<double>(bits64() >> 11) * 0x1p-53;
}

uint64_t Rng::below(uint64_t n) {
  require(n > 0, "Rng::below(0)");
  // Lemire, "Fast random integer generation in an interval", 2019: the high half of a product, with
  // the few values that would make it uneven rejected.
  while (true) {
    const auto product = static_cast<uint128>(bits64()) * n;
    if (static_cast<uint64_t>(product) >= -n % n) return static_cast<uint64_t>(product >> 64);
  }
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace midfill
