// `tokenizer.json`: what is in the file, checked, and the file written again with more tokens.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/tokenizer/added_tokens.h"
#include "src/tokenizer/bpe.h"
#include "src/tokenizer/pre_tokenizer.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

struct TokenizerFile {
  // By id, as spelt in the byte alphabet. Empty where no token has the id, or an added token alone.
  std::vector<std::string> vocabulary;
  size_t vocabulary_tokens = 0;         // that are not empty
  std::vector<Merge> merges;            // by rank
  std::array<TokenId, 256> byte_ids{};  // -1 only for bytes that UTF-8 never has
  bool ignore_merges = false;
  unicode::Form normal_form = unicode::Form::none;
  std::vector<PreTokenizerStep> pre_tokenizer;
  // In the order of the file, ids as Hugging Face gives them: an added token that the vocabulary
  // lacks gets the next free one.
  std::vector<AddedToken> added;
  // What the file says that is passed over, in the words of a note: "truncation is ...".
  std::vector<std::string> passed_over;

  // The id that Hugging Face gives the next added token. Throws Error where another token has it.
  TokenId next_id(std::string_view origin) const;
};

// Throws Error (origin, key, found, expected) for JSON that is malformed or says something that
// midfill does not do: everything is understood or the file is refused.
TokenizerFile parse_tokenizer_file(std::string_view json, std::string_view origin);

// The same JSON text with `more` at the end of "added_tokens", every other byte as it was. `json`
// must have passed parse_tokenizer_file.
std::string with_added_tokens(std::string_view json, std::span<const AddedToken> more);

// The same JSON text without truncation and padding, which would make other ids of a text.
std::string without_limits(std::string_view json);

// A tokenizer.json in the form of GPT-NeoX-20B's: NFC, ByteLevel, GPT-2 pattern.
std::string write_tokenizer_file(const std::vector<std::string>& vocabulary,
                                 const std::vector<Merge>& merges,
                                 std::span<const AddedToken> added);

}  // namespace midfill
