#include "src/io/hash.h"

#include <fmt/format.h>

namespace midfill {

Hash::Hash() : state_(XXH3_createState()) {
  XXH3_128bits_reset(state_.get());
}

void Hash::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

std::string Hash::text() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace midfill
