// The merges of a byte-level BPE: a piece of text becomes its bytes' symbols, then the adjacent
// pair of lowest rank is merged, leftmost first, until no pair has a rank.
// Source: Sennrich, Haddow, Birch 2016; GPT-2.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "src/tokenizer/piece_index.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct Merge {
  TokenId left, right, result;
};

// What a long piece cost, for tests.
struct LongPieceWork {
  size_t merged = 0;   // bytes of all windows
  size_t longest = 0;  // window, in bytes
};

class Bpe {
 public:
  // `byte_ids`: the symbol of each byte, -1 for bytes that never occur. `merges`: by rank, no pair
  // twice. `whole_pieces`: pieces that are one token whatever the merges say ("ignore_merges").
  Bpe(const std::array<TokenId, 256>& byte_ids, const std::vector<Merge>& merges,
      std::optional<PieceIndex> whole_pieces = std::nullopt);

  // Appends the ids of one piece.
  void encode(std::string_view piece, std::vector<TokenId>& out,
              LongPieceWork* work = nullptr) const;

  // The same for a piece of at most kShortPiece bytes, without a vector: writes the ids to `out`,
  // which has room for one a byte, and returns their number.
  static constexpr size_t kShortPiece = 64;
  size_t encode_short(std::string_view piece, TokenId* out) const;

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Slot {
    TokenId left = -1, right = -1;
    uint32_t rank = kNoRank;
  };

  void index_pairs(const std::vector<Merge>& merges);
  void index_lengths(const std::vector<Merge>& merges);
  void index_whole_pieces(const std::vector<Merge>& merges);
  uint32_t rank(TokenId left, TokenId right) const;
  size_t merge_short(std::string_view piece, TokenId* ids) const;
  void merge_with_heap(std::string_view piece, std::vector<TokenId>& out) const;
  void merge_in_windows(std::string_view piece, std::vector<TokenId>& out,
                        LongPieceWork* work) const;

  std::array<TokenId, 256> byte_ids_;
  std::vector<uint32_t> lengths_;     // bytes by id; empty: no windows
  std::vector<TokenId> results_;      // by rank
  std::vector<uint32_t> byte_ranks_;  // of the pairs of bytes, at 256 * left + right
  // Of all pairs: open addressing, a power of two, at most 4/5 full. Before it a bit for every
  // sixteenth hash value or so: most pairs that are asked for do not merge, and end there.
  std::vector<Slot> slots_;
  std::vector<uint64_t> may_merge_;
  int slot_shift_ = 0, bit_shift_ = 0;
  PieceIndex whole_pieces_;
};

}  // namespace midfill
