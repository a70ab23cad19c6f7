// Text -> pieces -> ids, with what one thread keeps for it: caches and buffers, so that a text like
// those before it costs no allocation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/tokenizer/added_tokens.h"
#include "src/tokenizer/bpe.h"
#include "src/tokenizer/piece_cache.h"
#include "src/tokenizer/piece_scanner.h"

namespace midfill {

// Added tokens that are runs of spaces, of every length from 2 to the longest.
struct SpaceRunTokens {
  std::vector<TokenId> ids;  // by length; empty: there are none

  size_t longest() const { return ids.empty() ? 0 : ids.size() - 1; }
};

// What a piece is encoded by. The tag distinguishes it from all others of the process.
struct PieceVocabulary {
  PieceVocabulary(Bpe merges, SpaceRunTokens runs);

  Bpe bpe;
  SpaceRunTokens space_runs;
  uint32_t tag;
};

class PieceEncoder {
 public:
  // The calling thread's. It serves all tokenizers; its caches are fixed in size (2.5 MiB).
  static PieceEncoder& of_thread();

  // Appends the ids of a piece, from the caches where they have it.
  void encode_piece(const PieceVocabulary& vocabulary, std::string_view piece,
                    std::vector<TokenId>& out);
  // Splits well-formed text by the GPT-2 pattern, runs of spaces cut out, and appends the ids.
  void encode_text(const PieceVocabulary& vocabulary, std::string_view text,
                   std::vector<TokenId>& out);

 private:
  using ShortCache = PieceCache<2, 3, 2>;
  using LongCache = PieceCache<4, 7, 1>;

  size_t encode_missed(const PieceVocabulary& vocabulary, std::string_view piece,
                       ShortCache::Set& set, TokenId* out);
  void encode_long(const PieceVocabulary& vocabulary, std::string_view piece,
                   std::vector<TokenId>& out);

  ShortCache short_{size_t{1} << 15};
  LongCache long_{size_t{1} << 13};
  // Ids of a window's pieces, with room for one that began before it and for a copy too long.
  TokenId ids_[PieceScanner::kWindow + 64];
};

}  // namespace midfill
