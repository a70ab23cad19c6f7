// Pieces that are one token: a read-only hash table from bytes to ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

class PieceIndex {
 public:
  void add(std::string_view piece, TokenId id);
  // The id of a piece, or -1.
  TokenId find(std::string_view piece) const;
  size_t size() const { return size_; }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t record = kEmpty;  // where it begins in records_
  };
  static constexpr uint32_t kEmpty = UINT32_MAX;
  void place(const Slot& slot);
  void grow();

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  size_t size_ = 0;
  size_t longest_ = 0;
  std::string records_;  // the id, the number of bytes, the bytes of each piece
};

}  // namespace midfill
