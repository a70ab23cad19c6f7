#include "src/tokenizer/tokenizer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "kernels/common/check.h"
#include "src/io/file.h"
#include "src/io/one_line.h"
#include "src/tokenizer/added_tokens.h"
#include "src/tokenizer/bpe.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/piece_encoder.h"
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
  Impl(TokenizerFile parsed, std::string json_text, std::string_view name,
       std::string_view end_of_document);

  void encode_section(std::string_view text, bool is_ascii, bool match_special,
                      std::vector<TokenId>& out) const;
  [[noreturn]] void refuse_eod() const;

  std::string origin;
  std::string eod_text;  // what ends documents, if it is there
  std::string json;      // what to_json gives
  TokenizerFile file;
  Sentinels sentinels;
  std::vector<std::string> bytes;  // by id
  std::vector<uint8_t> special;    // by id
  AddedTokenMatcher raw_tokens, normalized_tokens;
  std::optional<PreTokenizer> pre_tokenizer;
  std::optional<PieceVocabulary> vocabulary;

 private:
  TokenId find(std::string_view content) const;
  TokenId declare(std::string_view content, bool append, std::vector<AddedToken>& more);
  void add_sentinels();
  void index_tokens();
  SpaceRunTokens take_space_runs();
  void index_matchers(bool space_runs_are_taken);
};

Tokenizer::Impl::Impl(TokenizerFile parsed, std::string json_text, std::string_view name,
                      std::string_view end_of_document)
    : origin(name), eod_text(end_of_document), json(std::move(json_text)), file(std::move(parsed)) {
  if (!file.passed_over.empty()) json = without_limits(json);
  add_sentinels();
  index_tokens();
  pre_tokenizer.emplace(std::move(file.pre_tokenizer));
  SpaceRunTokens space_runs = take_space_runs();
  index_matchers(space_runs.longest() != 0);
  std::optional<PieceIndex> whole_pieces;
  if (file.ignore_merges) {
    whole_pieces.emplace();
    for (size_t id = 0; id < file.vocabulary.size(); ++id)
      if (!special[id] && !bytes[id].empty())
        whole_pieces->add(bytes[id], static_cast<TokenId>(id));
  }
  vocabulary.emplace(Bpe(file.byte_ids, file.merges, std::move(whole_pieces)),
                     std::move(space_runs));
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
  if (id < 0) id = file.next_id(fmt::format("{}: {}", origin, content));
  more.push_back(special_token(id, content));
  file.added.push_back(more.back());
  return id;
}

void Tokenizer::Impl::add_sentinels() {
  std::vector<AddedToken> more;
  sentinels.eod = declare(eod_text, false, more);
  if (sentinels.eod < 0 && eod_text != kEndOfText) refuse_eod();
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

void Tokenizer::Impl::refuse_eod() const {
  constexpr size_t kShown = 8;
  std::vector<std::string> others;
  for (const AddedToken& token : file.added) {
    const bool sentinel =
        token.id == sentinels.suf || token.id == sentinels.pre || token.id == sentinels.mid;
    if (token.special && !sentinel && others.size() < kShown)
      others.push_back(in_quotes(token.content));
  }
  fail(
      "{}: no token {}, which must end every document; --eod, or data.eod in a configuration, "
      "names "
      "the token that does (special tokens of this file: {})",
      origin, in_quotes(eod_text),
      others.empty() ? "none" : fmt::format("{}", fmt::join(others, ", ")));
}

void Tokenizer::Impl::index_tokens() {
  bytes.reserve(file.vocabulary.size() + file.added.size());
  for (const std::string& token : file.vocabulary)
    bytes.push_back(byte_alphabet::to_bytes(token).value_or(token));
  special.resize(bytes.size());
  for (size_t id = 0; id < bytes.size(); ++id) special[id] = bytes[id].empty();
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

// The added tokens that are matched in normalised text, where they are runs of 2, 3, ... spaces and
// nothing else, and the GPT-2 pattern follows: the scanner then finds them along with the pieces.
SpaceRunTokens Tokenizer::Impl::take_space_runs() {
  SpaceRunTokens runs;
  if (!pre_tokenizer->is_plain_gpt2()) return runs;
  std::map<size_t, TokenId> by_length;
  for (const AddedToken& token : file.added) {
    if (!token.normalized) continue;
    const bool plain = !token.single_word && !token.lstrip && !token.rstrip && !token.special;
    const bool spaces = token.content.find_first_not_of(' ') == std::string::npos;
    if (!plain || !spaces || !by_length.emplace(token.content.size(), token.id).second) return {};
  }
  runs.ids.resize(2, -1);
  for (const auto& [length, id] : by_length) {
    if (length != runs.ids.size()) return {};
    runs.ids.push_back(id);
  }
  return by_length.empty() ? SpaceRunTokens{} : runs;
}

void Tokenizer::Impl::index_matchers(bool space_runs_are_taken) {
  std::string buffer;
  // Special tokens first: of two tokens that read alike the first counts.
  for (const bool specials : {true, false}) {
    for (const AddedToken& token : file.added) {
      if (token.special != specials) continue;
      if (!token.normalized) {
        raw_tokens.add(token, token.content);
      } else if (!space_runs_are_taken) {
        normalized_tokens.add(token, unicode::normalize(token.content, file.normal_form, buffer));
      }
    }
  }
}

namespace {

// Storage of one call, kept by the thread for the next unless it was a large text.
struct Buffers {
  static constexpr size_t kKept = size_t{1} << 20;

  std::string repaired, normal_form;
  std::vector<AddedTokenMatcher::Part> raw, normalized;

  static Buffers& of_thread() {
    thread_local Buffers buffers;
    return buffers;
  }
  void trim() {
    if (repaired.capacity() > kKept) repaired = {};
    if (normal_form.capacity() > kKept) normal_form = {};
    if (raw.capacity() > kKept / sizeof(raw[0])) raw = {};
    if (normalized.capacity() > kKept / sizeof(normalized[0])) normalized = {};
  }
};

}  // namespace

// Text between special tokens.
void Tokenizer::Impl::encode_section(std::string_view text, bool is_ascii, bool match_special,
                                     std::vector<TokenId>& out) const {
  Buffers& buffers = Buffers::of_thread();
  PieceEncoder& encoder = PieceEncoder::of_thread();
  const auto encode_part = [&](std::string_view part) {
    if (pre_tokenizer->is_plain_gpt2()) return encoder.encode_text(*vocabulary, part, out);
    pre_tokenizer->split(
        part, [&](std::string_view piece) { encoder.encode_piece(*vocabulary, piece, out); });
  };
  if (!is_ascii) text = unicode::normalize(text, file.normal_form, buffers.normal_form);
  if (normalized_tokens.matches_nothing(match_special)) return encode_part(text);
  normalized_tokens.split(text, match_special, buffers.normalized);
  for (const auto& part : buffers.normalized) {
    if (part.id >= 0) {
      out.push_back(part.id);
    } else {
      encode_part(part.text);
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  // From where reading is quick; what the file was indexed with is needed no more.
  for (const std::string& bytes : std::exchange(impl_->bytes, {})) bytes_.push_back(bytes);
  special_ = std::move(impl_->special);
}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path, std::string_view eod) {
  return from_json(read_file(path, kMaxFileBytes), path.string(), eod);
}

Tokenizer Tokenizer::from_json(std::string_view json, std::string_view origin,
                               std::string_view eod) {
  return Tokenizer(
      std::make_unique<Impl>(parse_tokenizer_file(json, origin), std::string(json), origin, eod));
}

const Sentinels& Tokenizer::sentinels() const {
  return impl_->sentinels;
}

TokenId Tokenizer::required_eod() const {
  if (impl_->sentinels.eod < 0) impl_->refuse_eod();
  return impl_->sentinels.eod;
}

std::vector<std::string> Tokenizer::notes() const {
  std::vector<std::string> lines;
  for (const std::string& what : impl_->file.passed_over)
    lines.push_back(fmt::format("{}: {}", impl_->origin, what));
  return lines;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  encode_to(text, ids, options);
  return ids;
}

void Tokenizer::encode_to(std::string_view text, std::vector<TokenId>& out,
                          const EncodeOptions& options) const {
  Buffers& buffers = Buffers::of_thread();
  const bool is_ascii = unicode::is_ascii(text);
  if (!is_ascii && !unicode::is_valid_utf8(text)) {
    buffers.repaired = unicode::replace_invalid_utf8(text);
    text = buffers.repaired;
  }
  if (impl_->raw_tokens.matches_nothing(options.match_special)) {
    impl_->encode_section(text, is_ascii, options.match_special, out);
  } else {
    impl_->raw_tokens.split(text, options.match_special, buffers.raw);
    for (const auto& part : buffers.raw) {
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        impl_->encode_section(part.text, is_ascii, options.match_special, out);
      }
    }
  }
  buffers.trim();
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) text += bytes_of(id);
  return text;
}

void Tokenizer::refuse_id(TokenId id) const {
  fail("token id {} is not one of this tokenizer's 0 to {}", id, vocab_size() - 1);
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

namespace {

const char* name_of(unicode::Form form) {
  switch (form) {
    case unicode::Form::nfc:
      return "NFC";
    case unicode::Form::nfkc:
      return "NFKC";
    case unicode::Form::none:
      break;
  }
  return "no normaliser";
}

}  // namespace

std::string Tokenizer::summary() const {
  const auto id_text = [](TokenId id) { return id < 0 ? "none" : std::to_string(id); };
  const Sentinels& s = impl_->sentinels;
  return fmt::format(
      "byte-level BPE, {} ids ({} vocabulary, {} added tokens), {} merges, {}; EOD {}, padding {}, "
      "SUF {}, PRE {}, MID {}",
      vocab_size(), impl_->file.vocabulary_tokens, impl_->file.added.size(),
      impl_->file.merges.size(), name_of(impl_->file.normal_form), id_text(s.eod), id_text(s.pad),
      id_text(s.suf), id_text(s.pre), id_text(s.mid));
}

}  // namespace midfill
