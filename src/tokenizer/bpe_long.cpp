#include <algorithm>
#include <functional>

#include "kernels/common/check.h"
#include "src/tokenizer/bpe.h"

namespace midfill {

namespace {

struct Symbol {
  TokenId id;
  uint32_t previous, next;  // the number of symbols: none
  uint32_t rank;            // of the pair with the next symbol
};

// Storage of one call, kept by the thread for the next unless the piece was large.
struct Scratch {
  static constexpr size_t kKept = size_t{1} << 14;

  std::vector<Symbol> symbols;
  std::vector<uint64_t> heap;
  std::vector<TokenId> window;

  static Scratch& of_thread() {
    thread_local Scratch scratch;
    return scratch;
  }
  void trim() {
    if (symbols.capacity() > kKept) symbols = {};
    if (heap.capacity() > kKept) heap = {};
    if (window.capacity() > kKept) window = {};
  }
};

}  // namespace

// In any order of ranks; n log n.
void Bpe::merge_with_heap(std::string_view piece, std::vector<TokenId>& out) const {
  require(piece.size() < UINT32_MAX,
          "a piece of {} bytes without a split point, expected under 4 GiB", piece.size());
  const auto n = static_cast<uint32_t>(piece.size());
  Scratch& scratch = Scratch::of_thread();
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.resize(n);
  // Candidates, lowest rank first, then leftmost; stale ones are recognised when they come up.
  std::vector<uint64_t>& heap = scratch.heap;
  heap.clear();
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
  scratch.trim();
}

// A long piece from left to right, a window at a time: `out` holds the encoding of what is behind,
// the next window begins at a token some way back in it, and where both have the same token in the
// same place, the window's tokens take over from there.
//
// Why this is exact. Let a token be made by merges of lower rank than those that use it (this is
// what index_lengths checks). Then merging goes through the ranks in order, since what a merge
// makes is in pairs of higher rank only; write S(k) for the state before rank k.
//
// 1. If a token boundary of the result divides the text into x and y, no merge went across it, and
//    what happened on either side is what happens to x and to y alone: encode(xy) = encode(x)
//    encode(y).
// 2. Let u be the last token of encode(x) and v the first of encode(y). If encode(uv) = u v, then
//    encode(xy) = encode(x) encode(y). For suppose some merge goes across, and take the first one:
//    of rank k, of l that ends x and r that begins y. Until then both sides went as alone, so by 1
//    what lies in u and in v is in the state that u and v alone are in at that time: S(k), and the
//    merges of rank k to the left of l done, which leave l. Merging uv comes to the same state,
//    where (l, r) is the leftmost pair of lowest rank, and merges it. But encode(uv) = u v.
// 3. So a sequence of tokens that each encode to themselves is the encoding of its text exactly
// when
//    each neighbouring two are the encoding of theirs. Two encodings of overlapping texts that
//    share a token, in the same place, can change over from one to the other there: each
//    neighbouring two of the result are neighbours in one of them.
//
// Where the two share no token, the next window begins twice as far back: at worst at the begin of
// the piece, so it ends, with work of at most a geometric series of windows.
void Bpe::merge_in_windows(std::string_view piece, std::vector<TokenId>& out,
                           LongPieceWork* work) const {
  constexpr size_t kOverlap = 16;
  const auto length = [&](TokenId id) { return size_t{lengths_[static_cast<size_t>(id)]}; };
  std::vector<TokenId>& window = Scratch::of_thread().window;
  size_t overlap = kOverlap;
  for (size_t end = 0; end < piece.size();) {  // what was appended encodes piece[0, end)
    size_t begin = end, old = out.size();
    while (begin > 0 && end - begin < overlap) begin -= length(out[--old]);
    // As much as the short merge can hold, but never little beside what is done again.
    const size_t again = end - begin;
    const size_t fresh = std::max(again < kShortPiece ? kShortPiece - again : 0, 2 * again);
    const size_t stop = std::min(piece.size(), end + fresh);
    const std::string_view text = piece.substr(begin, stop - begin);
    window.clear();
    if (text.size() <= kShortPiece) {
      window.resize(text.size());
      window.resize(merge_short(text, window.data()));
    } else {
      merge_with_heap(text, window);
    }
    if (work != nullptr) {
      work->merged += text.size();
      work->longest = std::max(work->longest, text.size());
    }
    bool joined = begin == 0;
    size_t replacing = 0;  // where the token window[replacing] begins, and the token out[old]
    for (size_t at = begin, at_old = begin; !joined && old < out.size();) {
      if (at == at_old && window[replacing] == out[old]) {
        joined = true;
      } else if (at_old <= at) {
        at_old += length(out[old++]);
      } else {
        at += length(window[replacing++]);
      }
    }
    if (joined) {
      out.resize(old);
      out.insert(out.end(), window.begin() + static_cast<std::ptrdiff_t>(replacing), window.end());
      end = stop;
      overlap = kOverlap;
    } else {
      overlap = 2 * std::max(overlap, again);
    }
  }
}

}  // namespace midfill
