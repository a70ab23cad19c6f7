#include "src/tokenizer/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <functional>

#include "kernels/common/check.h"

namespace midfill {

namespace {

constexpr size_t kShortPiece = 64;  // bytes; up to here a linear scan beats a heap
constexpr uint64_t kNoPair = UINT64_MAX;

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 32;
}

// The ids of short pieces seen lately by this thread: direct mapped, fixed size, one cache line an
// entry.
class PieceCache {
 public:
  static constexpr size_t kMaxBytes = 23, kMaxIds = 9;

  struct Entry {
    uint8_t bytes = 0;  // 0: empty
    uint8_t ids = 0;
    char piece[kMaxBytes + 1] = {};
    TokenId id[kMaxIds] = {};
  };

  Entry& entry_of(std::string_view piece, uint64_t owner) {
    if (owner_ != owner) {
      std::fill(entries_.begin(), entries_.end(), Entry{});
      owner_ = owner;
    }
    uint64_t word[3] = {};
    std::memcpy(word, piece.data(), piece.size());
    const uint64_t h = mix(word[0] ^ mix(word[1] ^ mix(word[2] + piece.size())));
    return entries_[h & (kEntries - 1)];
  }

 private:
  static constexpr size_t kEntries = size_t{1} << 15;  // 2 MiB
  uint64_t owner_ = 0;
  std::vector<Entry> entries_ = std::vector<Entry>(kEntries);
};

std::atomic<uint64_t> next_identity{1};

}  // namespace

Bpe::Bpe(const std::array<TokenId, 256>& byte_ids, const std::vector<Merge>& merges,
         std::unordered_map<std::string, TokenId> whole_pieces)
    : identity_(next_identity++),
      byte_ids_(byte_ids),
      slots_(std::bit_ceil(2 * merges.size() + 2), Slot{kNoPair, kNoRank, -1}),
      mask_(slots_.size() - 1),
      whole_pieces_(std::move(whole_pieces)) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t key = pair_key(merges[rank].left, merges[rank].right);
    uint64_t at = mix(key) & mask_;
    while (slots_[at].pair != kNoPair) at = (at + 1) & mask_;
    slots_[at] = {key, static_cast<uint32_t>(rank), merges[rank].result};
  }
}

const Bpe::Slot& Bpe::find(TokenId left, TokenId right) const {
  const uint64_t key = pair_key(left, right);
  uint64_t at = mix(key) & mask_;
  // An empty slot has no rank, so it is the answer for a pair that never merges.
  while (slots_[at].pair != key && slots_[at].pair != kNoPair) at = (at + 1) & mask_;
  return slots_[at];
}

void Bpe::encode_piece(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.size() > PieceCache::kMaxBytes) return merge(piece, out);
  thread_local PieceCache cache;
  PieceCache::Entry& entry = cache.entry_of(piece, identity_);
  if (entry.bytes == piece.size() && std::memcmp(entry.piece, piece.data(), piece.size()) == 0) {
    out.insert(out.end(), entry.id, entry.id + entry.ids);
    return;
  }
  const size_t before = out.size();
  merge(piece, out);
  const size_t n = out.size() - before;
  if (n > PieceCache::kMaxIds) return;
  entry.bytes = static_cast<uint8_t>(piece.size());
  entry.ids = static_cast<uint8_t>(n);
  std::memcpy(entry.piece, piece.data(), piece.size());
  std::copy_n(out.begin() + static_cast<std::ptrdiff_t>(before), n, entry.id);
}

void Bpe::merge(std::string_view piece, std::vector<TokenId>& out) const {
  if (!whole_pieces_.empty()) {
    const auto whole = whole_pieces_.find(std::string(piece));
    if (whole != whole_pieces_.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  if (piece.size() > kShortPiece) return merge_long(piece, out);
  TokenId ids[kShortPiece];
  for (size_t i = 0; i < piece.size(); ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  merge_short(ids, piece.size(), out);
}

void Bpe::merge_short(TokenId* ids, size_t n, std::vector<TokenId>& out) const {
  uint32_t ranks[kShortPiece];  // ranks[i]: of the pair (i, i+1)
  TokenId results[kShortPiece];
  const auto look_up = [&](size_t i) {
    const Slot& slot = find(ids[i], ids[i + 1]);
    ranks[i] = slot.rank;
    results[i] = slot.result;
  };
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    const size_t best = static_cast<size_t>(std::min_element(ranks, ranks + n - 1) - ranks);
    if (ranks[best] == kNoRank) break;
    ids[best] = results[best];
    std::copy(ids + best + 2, ids + n, ids + best + 1);
    if (best + 2 < n) {
      std::copy(ranks + best + 2, ranks + n - 1, ranks + best + 1);
      std::copy(results + best + 2, results + n - 1, results + best + 1);
    }
    --n;
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  out.insert(out.end(), ids, ids + n);
}

void Bpe::merge_long(std::string_view piece, std::vector<TokenId>& out) const {
  require(piece.size() < UINT32_MAX,
          "a piece of {} bytes without a split point, expected under 4 GiB", piece.size());
  const auto n = static_cast<uint32_t>(piece.size());
  struct Symbol {
    TokenId id;
    uint32_t previous, next;  // n: none
    uint32_t rank;            // of the pair with the next symbol
  };
  std::vector<Symbol> symbols(n);
  // Candidates, lowest rank first, then leftmost; stale ones are recognised when they come up.
  std::vector<uint64_t> heap;
  const auto look_up = [&](uint32_t i) {
    Symbol& s = symbols[i];
    s.rank = s.next == n ? kNoRank : find(s.id, symbols[s.next].id).rank;
    return s.rank != kNoRank;
  };
  const auto candidate = [&](uint32_t i) { return uint64_t{symbols[i].rank} << 32 | i; };
  for (uint32_t i = 0; i < n; ++i)
    symbols[i] = {byte_ids_[static_cast<uint8_t>(piece[i])], i == 0 ? n : i - 1, i + 1, kNoRank};
  for (uint32_t i = 0; i < n; ++i)
    if (look_up(i)) heap.push_back(candidate(i));
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](uint32_t i) {
    if (!look_up(i)) return;
    heap.push_back(candidate(i));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto i = static_cast<uint32_t>(top);
    Symbol& left = symbols[i];
    if (left.rank != top >> 32 || left.rank == kNoRank) continue;
    Symbol& right = symbols[left.next];
    left.id = find(left.id, right.id).result;
    left.next = right.next;
    right.rank = kNoRank;
    if (left.next != n) symbols[left.next].previous = i;
    push(i);
    if (left.previous != n) push(left.previous);
  }
  for (uint32_t i = 0; i != n; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace midfill
