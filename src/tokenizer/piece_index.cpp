#include "src/tokenizer/piece_index.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/check.h"

namespace midfill {

namespace {

struct Head {
  TokenId id;
  uint32_t bytes;
};

uint32_t hash(std::string_view piece) {
  uint64_t h = piece.size() * 0x9E3779B97F4A7C15u;
  for (size_t at = 0; at < piece.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, piece.data() + at, std::min<size_t>(8, piece.size() - at));
    h = (h ^ word) * 0xC2B2AE3D27D4EB4Fu;
    h ^= h >> 29;
  }
  return static_cast<uint32_t>(h >> 32 ^ h);
}

}  // namespace

void PieceIndex::place(const Slot& slot) {
  size_t at = slot.hash & (slots_.size() - 1);
  while (slots_[at].record != kEmpty) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = slot;
}

void PieceIndex::grow() {
  std::vector<Slot> old(std::max<size_t>(16, 2 * slots_.size()));
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.record != kEmpty) place(slot);
}

void PieceIndex::add(std::string_view piece, TokenId id) {
  if (2 * (size_ + 1) > slots_.size()) grow();
  require(records_.size() < kEmpty, "the vocabulary's texts fill more than 4 GiB");
  place({hash(piece), static_cast<uint32_t>(records_.size())});
  const Head head{id, static_cast<uint32_t>(piece.size())};
  records_.append(reinterpret_cast<const char*>(&head), sizeof(head)).append(piece);
  longest_ = std::max(longest_, piece.size());
  ++size_;
}

TokenId PieceIndex::find(std::string_view piece) const {
  if (piece.size() > longest_ || size_ == 0) return -1;
  const uint32_t wanted = hash(piece);
  for (size_t at = wanted & (slots_.size() - 1); slots_[at].record != kEmpty;
       at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].hash != wanted) continue;
    const char* const record = records_.data() + slots_[at].record;
    Head head;
    std::memcpy(&head, record, sizeof(head));
    if (std::string_view(record + sizeof(head), head.bytes) == piece) return head.id;
  }
  return -1;
}

}  // namespace midfill
