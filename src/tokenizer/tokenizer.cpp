#include "src/tokenizer/tokenizer.h"

#include <algorithm>
#include <optional>

#include "kernels/common/check.h"
#include "src/io/file.h"
#include "src/tokenizer/added_tokens.h"
#include "src/tokenizer/bpe.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/pre_tokenizer.h"
#include "src/tokenizer/tokenizer_file.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

AddedToken special_token(TokenId id, std::string_view content) {
  return {.id = id, .content = std::string(content), .special = true};
}

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerFile parsed, std::string json_text);

  void encode_normalized(std::string_view text, std::vector<TokenId>& out) const;

  std::string json;  // what to_json gives
  TokenizerFile file;
  Sentinels sentinels;
  std::vector<std::string> bytes;  // by id
  std::vector<bool> special;       // by id
  AddedTokenMatcher raw_tokens, normalized_tokens;
  std::optional<Bpe> bpe;
  std::optional<PreTokenizer> pre_tokenizer;

 private:
  TokenId find(std::string_view content) const;
  TokenId declare(std::string_view content, bool append, std::vector<AddedToken>& more);
  void add_sentinels();
  void index_tokens();
  void index_matchers();
};

Tokenizer::Impl::Impl(TokenizerFile parsed, std::string json_text)
    : json(std::move(json_text)), file(std::move(parsed)) {
  add_sentinels();
  index_tokens();
  index_matchers();
  std::unordered_map<std::string, TokenId> whole_pieces;
  if (file.ignore_merges) {
    for (size_t id = 0; id < file.vocabulary.size(); ++id)
      if (!special[id]) whole_pieces.emplace(bytes[id], static_cast<TokenId>(id));
  }
  bpe.emplace(file.byte_ids, file.merges, std::move(whole_pieces));
  pre_tokenizer.emplace(std::move(file.pre_tokenizer));
}

TokenId Tokenizer::Impl::find(std::string_view content) const {
  const auto added =
      std::find_if(file.added.begin(), file.added.end(),
                   [&](const AddedToken& token) { return token.content == content; });
  if (added != file.added.end()) return added->id;
  const auto in_vocabulary = std::find(file.vocabulary.begin(), file.vocabulary.end(), content);
  if (in_vocabulary == file.vocabulary.end()) return -1;
  return static_cast<TokenId>(in_vocabulary - file.vocabulary.begin());
}

// The id of a special token. One that only the vocabulary has, or with `append` nobody, becomes an
// added token, so that it is matched in text.
TokenId Tokenizer::Impl::declare(std::string_view content, bool append,
                                 std::vector<AddedToken>& more) {
  TokenId id = find(content);
  const bool added = std::any_of(file.added.begin(), file.added.end(),
                                 [&](const AddedToken& token) { return token.id == id; });
  if (added || (id < 0 && !append)) return id;
  if (id < 0) {
    id = static_cast<TokenId>(file.vocabulary.size()) - 1;
    for (const AddedToken& token : file.added) id = std::max(id, token.id);
    ++id;
  }
  more.push_back(special_token(id, content));
  file.added.push_back(more.back());
  return id;
}

void Tokenizer::Impl::add_sentinels() {
  std::vector<AddedToken> more;
  sentinels.eod = declare("<|endoftext|>", false, more);
  sentinels.suf = declare("<|SUF|>", true, more);
  sentinels.pre = declare("<|PRE|>", true, more);
  sentinels.mid = declare("<|MID|>", true, more);
  const TokenId pad = find("<|padding|>");
  sentinels.pad = pad >= 0 ? pad : sentinels.eod;
  json = with_added_tokens(json, more);
  for (AddedToken& token : file.added) {
    const TokenId id = token.id;
    token.special = token.special || id == sentinels.eod || id == sentinels.suf ||
                    id == sentinels.pre || id == sentinels.mid || id == sentinels.pad;
  }
}

void Tokenizer::Impl::index_tokens() {
  bytes.reserve(file.vocabulary.size() + file.added.size());
  for (const std::string& token : file.vocabulary)
    bytes.push_back(byte_alphabet::to_bytes(token).value_or(token));
  special.resize(bytes.size());
  for (const AddedToken& token : file.added) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= bytes.size()) {
      bytes.resize(id + 1);
      special.resize(id + 1);
    }
    bytes[id] = token.content;
    special[id] = token.special;
  }
  if (sentinels.pad >= 0) special[static_cast<size_t>(sentinels.pad)] = true;
}

void Tokenizer::Impl::index_matchers() {
  std::string buffer;
  // Special tokens first: of two tokens that read alike the first counts.
  for (const bool specials : {true, false}) {
    for (const AddedToken& token : file.added) {
      if (token.special != specials) continue;
      if (!token.normalized) {
        raw_tokens.add(token, token.content);
      } else {
        normalized_tokens.add(token,
                              file.nfc ? unicode::nfc(token.content, buffer) : token.content);
      }
    }
  }
}

void Tokenizer::Impl::encode_normalized(std::string_view text, std::vector<TokenId>& out) const {
  pre_tokenizer->split(text, [&](std::string_view piece) { bpe->encode_piece(piece, out); });
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  return from_json(read_file(path, kMaxFileBytes), path.string());
}

Tokenizer Tokenizer::from_json(std::string_view json, std::string_view origin) {
  return Tokenizer(std::make_unique<Impl>(parse_tokenizer_file(json, origin), std::string(json)));
}

int Tokenizer::vocab_size() const {
  return static_cast<int>(impl_->bytes.size());
}

const Sentinels& Tokenizer::sentinels() const {
  return impl_->sentinels;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  encode_to(text, ids, options);
  return ids;
}

void Tokenizer::encode_to(std::string_view text, std::vector<TokenId>& out,
                          const EncodeOptions& options) const {
  std::string repaired, normal_form;
  if (!unicode::is_valid_utf8(text)) {
    repaired = unicode::replace_invalid_utf8(text);
    text = repaired;
  }
  std::vector<AddedTokenMatcher::Part> raw, normalized;
  impl_->raw_tokens.split(text, options.match_special, raw);
  for (const auto& part : raw) {
    if (part.id >= 0) {
      out.push_back(part.id);
      continue;
    }
    const std::string_view section =
        impl_->file.nfc ? unicode::nfc(part.text, normal_form) : part.text;
    impl_->normalized_tokens.split(section, options.match_special, normalized);
    for (const auto& inner : normalized) {
      if (inner.id >= 0) {
        out.push_back(inner.id);
      } else {
        impl_->encode_normalized(inner.text, out);
      }
    }
  }
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) text += bytes_of(id);
  return text;
}

std::string_view Tokenizer::bytes_of(TokenId id) const {
  require(id >= 0 && id < vocab_size(), "token id {} is not one of this tokenizer's 0 to {}", id,
          vocab_size() - 1);
  return impl_->bytes[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && id < vocab_size() && impl_->special[static_cast<size_t>(id)];
}

bool Tokenizer::has_local_pieces() const {
  const auto is_local = [](const AddedToken& token) {
    const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    if (token.special) return std::ranges::none_of(token.content, is_space);
    return std::ranges::all_of(token.content, is_space) && !token.single_word && !token.lstrip &&
           !token.rstrip;
  };
  return impl_->pre_tokenizer->is_plain_gpt2() && std::ranges::all_of(impl_->file.added, is_local);
}

std::string Tokenizer::to_json() const {
  return impl_->json;
}

std::string Tokenizer::summary() const {
  const auto id_text = [](TokenId id) { return id < 0 ? "none" : std::to_string(id); };
  const Sentinels& s = impl_->sentinels;
  return fmt::format(
      "byte-level BPE, {} ids ({} vocabulary, {} added tokens), {} merges, {}; EOD {}, padding {}, "
      "SUF {}, PRE {}, MID {}",
      vocab_size(), impl_->file.vocabulary.size(), impl_->file.added.size(),
      impl_->file.merges.size(), impl_->file.nfc ? "NFC" : "no normaliser", id_text(s.eod),
      id_text(s.pad), id_text(s.suf), id_text(s.pre), id_text(s.mid));
}

}  // namespace midfill
