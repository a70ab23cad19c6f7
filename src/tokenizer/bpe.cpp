#include "src/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <string>
#include <unordered_map>

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
  index_lengths(merges);
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

// Leaves lengths_ empty where the merges do not meet the condition of merge_in_windows: a token is
// made by merges of lower ranks than those that use it, and always of the same number of bytes.
void Bpe::index_lengths(const std::vector<Merge>& merges) {
  constexpr uint32_t kLongest = uint32_t{1} << 30;
  TokenId last = *std::ranges::max_element(byte_ids_);
  for (const Merge& merge : merges) last = std::max({last, merge.left, merge.right, merge.result});
  std::vector<uint32_t> lengths(static_cast<size_t>(last) + 1);
  std::vector<bool> used(lengths.size());
  for (const TokenId id : byte_ids_)
    if (id >= 0) lengths[static_cast<size_t>(id)] = 1;
  for (const auto& [left, right, result] : merges) {
    if (left < 0 || right < 0 || result < 0) return;
    const auto l = static_cast<size_t>(left), r = static_cast<size_t>(right);
    const auto made = static_cast<size_t>(result);
    used[l] = used[r] = true;
    const uint32_t length = lengths[l] + lengths[r];
    const bool known = lengths[l] != 0 && lengths[r] != 0 && length <= kLongest;
    if (!known || used[made] || (lengths[made] != 0 && lengths[made] != length)) return;
    lengths[made] = length;
  }
  lengths_ = std::move(lengths);
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

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out, LongPieceWork* work) const {
  if (piece.size() <= kShortPiece) {
    TokenId ids[kShortPiece];
    out.insert(out.end(), ids, ids + encode_short(piece, ids));
    return;
  }
  if (const TokenId whole = whole_pieces_.find(piece); whole >= 0) return out.push_back(whole);
  if (lengths_.empty()) {
    merge_with_heap(piece, out);
  } else {
    merge_in_windows(piece, out, work);
  }
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

}  // namespace midfill
