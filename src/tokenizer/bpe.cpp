#include "src/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <unordered_map>

#include "kernels/common/check.h"

namespace midfill {

namespace {

constexpr size_t kLongestWholePiece = 1024;  // bytes
constexpr uint64_t kNothing = UINT64_MAX;

// The highest bits are the most mixed.
uint64_t hash(TokenId left, TokenId right) {
  const uint64_t pair = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  return (pair ^ pair >> 29) * 0x9E3779B97F4A7C15u;
}

}  // namespace

Bpe::Bpe(const std::array<TokenId, 256>& byte_ids, const std::vector<Merge>& merges,
         std::optional<PieceIndex> whole_pieces)
    : byte_ids_(byte_ids), byte_ranks_(size_t{256} * 256) {
  index_pairs(merges);
  for (size_t left = 0; left < 256; ++left)
    for (size_t right = 0; right < 256; ++right)
      byte_ranks_[256 * left + right] = rank(byte_ids_[left], byte_ids_[right]);
  if (whole_pieces) {
    whole_pieces_ = std::move(*whole_pieces);
  } else {
    index_whole_pieces(merges);
  }
}

void Bpe::index_pairs(const std::vector<Merge>& merges) {
  const size_t slots = std::bit_ceil(merges.size() + merges.size() / 4 + 2);
  const size_t bits = std::max<size_t>(64, std::bit_ceil(16 * merges.size()));
  slots_.resize(slots);
  may_merge_.resize(bits / 64);
  slot_shift_ = 65 - std::bit_width(slots);
  bit_shift_ = 65 - std::bit_width(bits);
  for (const auto& [left, right, result] : merges) {
    const uint64_t h = hash(left, right);
    size_t at = h >> slot_shift_;
    while (slots_[at].rank != kNoRank) at = (at + 1) & (slots - 1);
    slots_[at] = {left, right, static_cast<uint32_t>(results_.size())};
    may_merge_[h >> bit_shift_ >> 6] |= uint64_t{1} << (h >> bit_shift_ & 63);
    results_.push_back(result);
  }
}

uint32_t Bpe::rank(TokenId left, TokenId right) const {
  const uint64_t h = hash(left, right), bit = h >> bit_shift_;
  if ((may_merge_[bit >> 6] >> (bit & 63) & 1) == 0) return kNoRank;
  size_t at = h >> slot_shift_;
  // An empty slot has no rank, so it is the answer for a pair that never merges.
  while ((slots_[at].left != left || slots_[at].right != right) && slots_[at].rank != kNoRank)
    at = (at + 1) & (slots_.size() - 1);
  return slots_[at].rank;
}

// Tokens that the merges make of their own text: pieces that need no merging.
void Bpe::index_whole_pieces(const std::vector<Merge>& merges) {
  std::unordered_map<TokenId, std::string> texts;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte_ids_[byte] < 0) continue;
    const std::string text(1, static_cast<char>(byte));
    texts.emplace(byte_ids_[byte], text);
    whole_pieces_.add(text, byte_ids_[byte]);
  }
  std::vector<TokenId> ids;
  for (const Merge& merge : merges) {
    const auto left = texts.find(merge.left), right = texts.find(merge.right);
    if (left == texts.end() || right == texts.end()) continue;
    const std::string text = left->second + right->second;
    if (text.size() > kLongestWholePiece || !texts.emplace(merge.result, text).second) continue;
    ids.clear();
    encode(text, ids);
    if (ids.size() == 1 && whole_pieces_.find(text) < 0) whole_pieces_.add(text, ids[0]);
  }
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.size() <= kShortPiece) {
    TokenId ids[kShortPiece];
    out.insert(out.end(), ids, ids + encode_short(piece, ids));
    return;
  }
  if (const TokenId whole = whole_pieces_.find(piece); whole >= 0) return out.push_back(whole);
  merge_long(piece, out);
}

size_t Bpe::encode_short(std::string_view piece, TokenId* out) const {
  if (const TokenId whole = whole_pieces_.find(piece); whole >= 0) {
    out[0] = whole;
    return 1;
  }
  return merge_short(piece, out);
}

// The ids are a list, id i beginning at byte i; the pairs of all neighbours are searched for the
// lowest rank each time, which is fastest for so few.
size_t Bpe::merge_short(std::string_view piece, TokenId* ids) const {
  constexpr size_t kLanes = 16;
  const size_t n = piece.size();
  // Of the pair that begins at i: its rank, then i in the lowest bits, so that of two equal ranks
  // the left one is lower.
  uint64_t order[kShortPiece];
  uint8_t next[kShortPiece], before[kShortPiece + 1];
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(piece[i]); };
  const auto place = [](uint32_t r, size_t i) {
    return r == kNoRank ? kNothing : uint64_t{r} << 6 | i;
  };
  const size_t padded = (n + kLanes - 1) / kLanes * kLanes;
  for (size_t i = 0; i < n; ++i) {
    ids[i] = byte_ids_[byte(i)];
    next[i] = static_cast<uint8_t>(i + 1);
    before[i + 1] = static_cast<uint8_t>(i);
  }
  for (size_t i = 0; i + 1 < n; ++i)
    order[i] = place(byte_ranks_[size_t{256} * byte(i) + byte(i + 1)], i);
  std::fill(order + n - 1, order + padded, kNothing);
  for (;;) {
    uint64_t least = kNothing;
    for (size_t i = 0; i < padded; ++i) least = std::min(least, order[i]);
    if (least == kNothing) break;
    const size_t left = least % kShortPiece, right = next[left], after = next[right];
    ids[left] = results_[least >> 6];
    order[right] = kNothing;
    next[left] = static_cast<uint8_t>(after);
    before[after] = static_cast<uint8_t>(left);
    order[left] = after == n ? kNothing : place(rank(ids[left], ids[after]), left);
    if (left > 0) {
      const size_t first = before[left];
      order[first] = place(rank(ids[first], ids[left]), first);
    }
  }
  size_t count = 0;
  for (size_t i = 0; i < n; i = next[i]) ids[count++] = ids[i];
  return count;
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
    s.rank = s.next == n ? kNoRank : rank(s.id, symbols[s.next].id);
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
    left.id = results_[left.rank];
    left.next = right.next;
    right.rank = kNoRank;
    if (left.next != n) symbols[left.next].previous = i;
    push(i);
    if (left.previous != n) push(left.previous);
  }
  for (uint32_t i = 0; i != n; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace midfill
