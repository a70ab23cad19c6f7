#include "src/tokenizer/piece_encoder.h"

#include <algorithm>
#include <atomic>

#include "kernels/common/check.h"

namespace midfill {

namespace {

constexpr size_t kShortBytes = PieceKey<2>::kMaxBytes, kLongBytes = PieceKey<4>::kMaxBytes;

uint32_t new_tag() {
  static std::atomic<uint32_t> last{0};
  const uint32_t tag = ++last << PieceCache<2, 3, 2>::kTagBits;
  require(tag != 0, "more than 2^29 tokenizers in one process");
  return tag;
}

bool is_space_run(const PieceVocabulary& vocabulary, std::string_view piece) {
  return vocabulary.space_runs.longest() != 0 && piece.starts_with("  ");
}

// Leftmost-longest: as many of the longest as there is room for, then what is left (never 1, which
// the scanner leaves to the next piece). Writes at most one id a byte.
size_t encode_space_run(const SpaceRunTokens& runs, size_t spaces, TokenId* out) {
  const size_t longest = runs.longest(), full = spaces / longest, left = spaces % longest;
  std::fill_n(out, full, runs.ids[longest]);
  if (left != 0) out[full] = runs.ids[left];
  return full + (left != 0);
}

}  // namespace

PieceVocabulary::PieceVocabulary(Bpe merges, SpaceRunTokens runs)
    : bpe(std::move(merges)), space_runs(std::move(runs)), tag(new_tag()) {}

PieceEncoder& PieceEncoder::of_thread() {
  thread_local const auto kEncoder = std::make_unique<PieceEncoder>();
  return *kEncoder;
}

void PieceEncoder::encode_piece(const PieceVocabulary& vocabulary, std::string_view piece,
                                std::vector<TokenId>& out) {
  if (piece.size() > kShortBytes) return encode_long(vocabulary, piece, out);
  const auto key = PieceKey<2>::of(piece);
  ShortCache::Set& set = short_[key];
  const size_t n = set[0].holds(key, vocabulary.tag) ? set[0].copy(vocabulary.tag, ids_)
                                                     : encode_missed(vocabulary, piece, set, ids_);
  out.insert(out.end(), ids_, ids_ + n);
}

void PieceEncoder::encode_text(const PieceVocabulary& vocabulary, std::string_view text,
                               std::vector<TokenId>& out) {
  const uint32_t tag = vocabulary.tag;
  PieceScanner scanner(text, vocabulary.space_runs.longest());
  const char* piece = text.data();
  const char* const text_end = piece + text.size();
  while (!scanner.done()) {
    const char* const window = text.data() + scanner.window_begin();
    TokenId* ids = ids_;
    for (const uint16_t end : scanner.next()) {
      const auto bytes = static_cast<size_t>(window + end - piece);
      if (bytes <= kShortBytes) [[likely]] {
        const auto key = text_end - piece >= 16 ? short_piece_key(piece, bytes)
                                                : PieceKey<2>::of({piece, bytes});
        ShortCache::Set& set = short_[key];
        if (set[0].holds(key, tag)) [[likely]] {
          ids += set[0].copy(tag, ids);
        } else {
          ids += encode_missed(vocabulary, {piece, bytes}, set, ids);
        }
      } else {
        out.insert(out.end(), ids_, ids);
        ids = ids_;
        encode_long(vocabulary, {piece, bytes}, out);
      }
      piece = window + end;
    }
    out.insert(out.end(), ids_, ids);
  }
}

// A piece of at most kShortBytes that is not the first of its set.
size_t PieceEncoder::encode_missed(const PieceVocabulary& vocabulary, std::string_view piece,
                                   ShortCache::Set& set, TokenId* out) {
  const uint32_t tag = vocabulary.tag;
  const auto short_key = PieceKey<2>::of(piece);
  if (set[1].holds(short_key, tag)) {
    std::swap(set[0], set[1]);
    return set[0].copy(tag, out);
  }
  const auto long_key = PieceKey<4>::of(piece);
  LongCache::Set& long_set = long_[long_key];
  if (long_set[0].holds(long_key, tag)) return long_set[0].copy(tag, out);
  const size_t n = is_space_run(vocabulary, piece)
                       ? encode_space_run(vocabulary.space_runs, piece.size(), out)
                       : vocabulary.bpe.encode_short(piece, out);
  if (n <= ShortCache::kMaxIds) {
    ShortCache::insert(set, short_key, tag, out, n);
  } else if (n <= LongCache::kMaxIds) {
    LongCache::insert(long_set, long_key, tag, out, n);
  }
  return n;
}

void PieceEncoder::encode_long(const PieceVocabulary& vocabulary, std::string_view piece,
                               std::vector<TokenId>& out) {
  if (is_space_run(vocabulary, piece)) {
    const size_t before = out.size();
    out.resize(before + piece.size() / vocabulary.space_runs.longest() + 1);
    const size_t n = encode_space_run(vocabulary.space_runs, piece.size(), out.data() + before);
    return out.resize(before + n);
  }
  if (piece.size() > kLongBytes) return vocabulary.bpe.encode(piece, out);
  const auto key = PieceKey<4>::of(piece);
  LongCache::Set& set = long_[key];
  size_t n;
  if (set[0].holds(key, vocabulary.tag)) {
    n = set[0].copy(vocabulary.tag, ids_);
  } else {
    n = vocabulary.bpe.encode_short(piece, ids_);
    if (n <= LongCache::kMaxIds) LongCache::insert(set, key, vocabulary.tag, ids_, n);
  }
  out.insert(out.end(), ids_, ids_ + n);
}

}  // namespace midfill
