// The merges of a byte-level BPE: a piece of text becomes its bytes' symbols, then the adjacent
// pair of lowest rank is merged, leftmost first, until no pair has a rank.
// Source: Sennrich, Haddow, Birch 2016; GPT-2.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct Merge {
  TokenId left, right, result;
};

class Bpe {
 public:
  // `byte_ids`: the symbol of each byte, -1 for bytes that never occur. `merges`: by rank, no pair
  // twice. `whole_pieces`: pieces that are one token whatever the merges say ("ignore_merges").
  Bpe(const std::array<TokenId, 256>& byte_ids, const std::vector<Merge>& merges,
      std::unordered_map<std::string, TokenId> whole_pieces);

  // Appends the ids of one piece. Short pieces come from a cache of the calling thread. Time is
  // n log n in the worst case.
  void encode_piece(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  struct Slot {
    uint64_t pair;
    uint32_t rank;
    TokenId result;
  };
  static constexpr uint32_t kNoRank = UINT32_MAX;

  const Slot& find(TokenId left, TokenId right) const;
  void merge(std::string_view piece, std::vector<TokenId>& out) const;
  void merge_short(TokenId* ids, size_t n, std::vector<TokenId>& out) const;
  void merge_long(std::string_view piece, std::vector<TokenId>& out) const;

  uint64_t identity_;  // distinguishes the tokenizers that share a thread's cache
  std::array<TokenId, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  uint64_t mask_;
  std::unordered_map<std::string, TokenId> whole_pieces_;
};

}  // namespace midfill
