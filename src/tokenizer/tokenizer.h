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

#include "kernels/common/check.h"

namespace midfill {

using TokenId = int32_t;

// A text that cannot be encoded, though others can: a pattern of the file takes too long for it.
class TextError : public Error {
 public:
  using Error::Error;
};

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

// Special tokens of the FIM format. -1: the tokenizer has none.
struct Sentinels {
  TokenId suf = -1;  // <|SUF|>
  TokenId pre = -1;  // <|PRE|>
  TokenId mid = -1;  // <|MID|>
  TokenId eod = -1;  // ends a document: <|endoftext|>, or what the user names
  TokenId pad = -1;  // <|padding|>; eod where the tokenizer has no padding token
};

struct EncodeOptions {
  // Whether text that spells a special token ("<|endoftext|>") becomes that token. Off for data: a
  // document cannot end itself. On by default, as in Hugging Face.
  bool match_special = true;
};

// The bytes of every id, one after the other in one array.
class TokenBytes {
 public:
  void push_back(std::string_view bytes) {
    text_ += bytes;
    ends_.push_back(static_cast<uint32_t>(text_.size()));
  }
  size_t size() const { return ends_.size() - 1; }
  std::string_view operator[](size_t id) const {
    return {text_.data() + ends_[id], ends_[id + 1] - ends_[id]};
  }

 private:
  std::string text_;
  std::vector<uint32_t> ends_{0};
};

class Tokenizer {
 public:
  // Throws Error naming file and place for anything not understood: nothing is half-read, and what
  // is passed over is in notes(). Sentinels that the file lacks are appended after its last id, in
  // the order SUF, PRE, MID. `eod`: the text of the token that ends documents; one that the file
  // lacks is an Error, unless it is the usual one, which only those need who ask for it.
  static Tokenizer load(const std::filesystem::path& path, std::string_view eod = kEndOfText);
  static Tokenizer from_json(std::string_view json, std::string_view origin,
                             std::string_view eod = kEndOfText);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // One more than the largest id, sentinels included.
  int vocab_size() const { return static_cast<int>(bytes_.size()); }
  const Sentinels& sentinels() const;
  // The token that ends documents. Throws Error naming the file and the remedy where there is none.
  TokenId required_eod() const;
  // A line each, naming the file: what it says that has no part in ids, and was passed over.
  std::vector<std::string> notes() const;

  // Invalid UTF-8 is replaced by U+FFFD as Python's errors="replace" does (one per maximal
  // ill-formed subpart). Safe to call from several threads. Time is linear in the text. encode_to
  // appends; where `out` has room and the thread has encoded before, it allocates nothing for ASCII
  // and for text in NFC. Throws TextError where a pattern of the file fails on this text.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  void encode_to(std::string_view text, std::vector<TokenId>& out,
                 const EncodeOptions& options = {}) const;

  // The bytes that ids stand for, special tokens included; may hold incomplete UTF-8. Throws for an
  // unknown id.
  std::string decode(std::span<const TokenId> ids) const;
  // The bytes of one id (for a special token: its text; none where ids leave a gap). Throws for an
  // unknown id.
  std::string_view bytes_of(TokenId id) const {
    if (static_cast<size_t>(id) >= bytes_.size()) [[unlikely]]
      refuse_id(id);
    return bytes_[static_cast<size_t>(id)];
  }
  // True for special tokens, sentinels and ids that no token has: they stand for no text.
  bool is_special(TokenId id) const {
    return static_cast<size_t>(id) < special_.size() && special_[static_cast<size_t>(id)] != 0;
  }
  // True where the pieces of a text can be found from any place in it (PieceBoundaries): the GPT-2
  // pattern, and added tokens that are runs of white space or, being special, hold none.
  bool has_local_pieces() const;

  // The tokenizer.json that Hugging Face loads to the same ids, sentinels included: the file with
  // the sentinels added, and without truncation and padding.
  std::string to_json() const;
  // "BPE, 50280 ids (50254 vocabulary, 26 added), 50009 merges, NFC, ..." for `tokenizer info`.
  std::string summary() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  [[noreturn]] void refuse_id(TokenId id) const;

  std::unique_ptr<Impl> impl_;
  TokenBytes bytes_;
  std::vector<uint8_t> special_;  // by id
};

}  // namespace midfill
