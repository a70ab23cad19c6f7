// What a thread remembers of the pieces that it has encoded lately.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <string_view>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

// The bytes of a piece, zeros, and in the last byte their number: no two pieces have one key.
template <size_t kWords>
struct PieceKey {
  static constexpr size_t kMaxBytes = 8 * kWords - 1;
  uint64_t words[kWords];

  // `piece`: at most kMaxBytes.
  static PieceKey of(std::string_view piece) {
    PieceKey key{};
    std::memcpy(key.words, piece.data(), piece.size());
    key.words[kWords - 1] |= uint64_t{piece.size()} << 56;
    return key;
  }
  bool operator==(const PieceKey& other) const {
    uint64_t different = 0;
    for (size_t i = 0; i < kWords; ++i) different |= words[i] ^ other.words[i];
    return different == 0;
  }
  // Every bit of the words moves the highest bits.
  uint64_t hash() const {
    constexpr uint64_t kOdd[] = {0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu, 0xD6E8FEB86659FD93u,
                                 0xFF51AFD7ED558CCDu};
    static_assert(kWords <= std::size(kOdd));
    uint64_t sum = 0;
    for (size_t i = 0; i < kWords; ++i) sum += words[i] * kOdd[i];
    return sum;
  }
};

// The key of the `n` bytes at `text`, of which 16 can be read.
inline PieceKey<2> short_piece_key(const char* text, size_t n) {
  alignas(64) static constexpr struct Masks {
    uint64_t words[16][2];
    constexpr Masks() : words{} {
      for (size_t bytes = 0; bytes < 16; ++bytes)
        for (size_t i = 0; i < bytes; ++i) words[bytes][i / 8] |= uint64_t{0xFF} << (i % 8 * 8);
    }
  } kMasks;
  PieceKey<2> key;
  std::memcpy(key.words, text, sizeof(key.words));
  key.words[0] &= kMasks.words[n][0];
  key.words[1] = (key.words[1] & kMasks.words[n][1]) | uint64_t{n} << 56;
  return key;
}

// A table of fixed size from pieces to their ids, in sets of kWays entries, the latest first. A
// piece is compared in full, together with the tokenizer that it was encoded by: a collision costs
// time, never a wrong id.
template <size_t kWords, size_t kIds, size_t kWays>
class PieceCache {
 public:
  using Key = PieceKey<kWords>;
  static constexpr size_t kMaxIds = kIds;
  // The tag of a tokenizer has this many zeros at its end, where an entry keeps its number of ids.
  static constexpr int kTagBits = 3;
  static_assert(kIds < 1 << kTagBits);

  struct Entry {
    Key key;
    uint32_t ids[kIds];
    uint32_t tag;

    bool holds(const Key& wanted, uint32_t owner) const {
      return key == wanted && (tag ^ owner) <= kIds;
    }
    // Copies all ids, as that is cheaper than a loop; returns how many count.
    size_t copy(uint32_t owner, TokenId* out) const {
      std::memcpy(out, ids, sizeof(ids));
      return tag ^ owner;
    }
  };
  using Set = Entry[kWays];
  static_assert(64 % sizeof(Set) == 0, "a set lies in one cache line");

  // `sets`: a power of two, at least 2. Memory is used where entries are.
  explicit PieceCache(size_t sets)
      : shift_(65 - std::bit_width(sets)), memory_(std::calloc(sets * sizeof(Set) + 64, 1)) {
    if (memory_ == nullptr) throw std::bad_alloc();
    void* begin = memory_.get();
    size_t room = sets * sizeof(Set) + 64;
    sets_ = static_cast<Set*>(std::align(64, sets * sizeof(Set), begin, room));
  }

  Set& operator[](const Key& key) { return sets_[key.hash() >> shift_]; }

  // A piece, its n <= kIds ids, and who encoded it; the oldest of the set makes room.
  static void insert(Set& set, const Key& piece, uint32_t owner, const TokenId* ids, size_t n) {
    std::rotate(std::begin(set), std::end(set) - 1, std::end(set));
    set[0].key = piece;
    std::memcpy(set[0].ids, ids, n * sizeof(TokenId));
    set[0].tag = owner | static_cast<uint32_t>(n);
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  int shift_;
  std::unique_ptr<void, Free> memory_;
  Set* sets_;
};

}  // namespace midfill
