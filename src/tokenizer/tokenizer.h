// Byte-level BPE as Hugging Face `tokenizer.json` files describe it: added tokens, NFC, the GPT-2
// pattern, merges. Ids are identical to those of Hugging Face `tokenizers`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace midfill {

using TokenId = int32_t;

// Special tokens of the FIM format. -1: the tokenizer has none.
struct Sentinels {
  TokenId suf = -1;  // <|SUF|>
  TokenId pre = -1;  // <|PRE|>
  TokenId mid = -1;  // <|MID|>
  TokenId eod = -1;  // <|endoftext|>
  TokenId pad = -1;  // <|padding|>; eod where the tokenizer has no padding token
};

struct EncodeOptions {
  // Whether text that spells a special token ("<|endoftext|>") becomes that token. Off for data: a
  // document cannot end itself. On by default, as in Hugging Face.
  bool match_special = true;
};

class Tokenizer {
 public:
  // Throws Error naming file and place for anything not understood: nothing is half-read or
  // ignored. Sentinels that the file lacks are appended after its last id, in the order SUF, PRE,
  // MID.
  static Tokenizer load(const std::filesystem::path& path);
  static Tokenizer from_json(std::string_view json, std::string_view origin);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // One more than the largest id, sentinels included.
  int vocab_size() const;
  const Sentinels& sentinels() const;

  // Invalid UTF-8 is replaced by U+FFFD as Python's errors="replace" does (one per maximal
  // ill-formed subpart). Safe to call from several threads.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  void encode_to(std::string_view text, std::vector<TokenId>& out,
                 const EncodeOptions& options = {}) const;

  // The bytes that ids stand for, special tokens included; may hold incomplete UTF-8. Throws for an
  // unknown id.
  std::string decode(std::span<const TokenId> ids) const;
  // The bytes of one id (for a special token: its text). Throws for an unknown id.
  std::string_view bytes_of(TokenId id) const;
  // True for special tokens and sentinels, which stand for no text.
  bool is_special(TokenId id) const;
  // True where the pieces of a text can be found from any place in it (PieceBoundaries): the GPT-2
  // pattern, and added tokens that are runs of white space or, being special, hold none.
  bool has_local_pieces() const;

  // The tokenizer.json that Hugging Face loads to the same ids, sentinels included.
  std::string to_json() const;
  // "BPE, 50280 ids (50254 vocabulary, 26 added), 50009 merges, NFC, ..." for `tokenizer info`.
  std::string summary() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace midfill
