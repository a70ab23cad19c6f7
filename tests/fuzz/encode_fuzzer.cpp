// Text of arbitrary bytes, encoded by small tokenizers. The ids are those of the definition written
// out with PCRE2 and a quadratic merge; they spell the text; decode takes any ids that there are.
//
// First byte: 1 for the tokenizer with runs of spaces, 2 to match special tokens.
#include <array>

#include "src/tokenizer/pre_tokenizer.h"
#include "src/tokenizer/tokenizer.h"
#include "src/tokenizer/unicode.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/small_tokenizer.h"

namespace {

using namespace midfill;

struct Reference {
  explicit Reference(bool space_runs)
      : json(fuzz::small_tokenizer_json(space_runs)),
        tokenizer(Tokenizer::from_json(json, "small tokenizer")),
        file(parse_tokenizer_file(json, "small tokenizer")) {}

  std::string json;
  Tokenizer tokenizer;
  TokenizerFile file;
  Pattern gpt2 = Pattern::regex(
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", "GPT-2");

  // The longest token of the kind that text[at] begins with, or nothing.
  const AddedToken* token_at(std::string_view text, size_t at, bool normalized) const {
    const AddedToken* best = nullptr;
    for (const AddedToken& token : file.added)
      if (token.normalized == normalized && text.substr(at).starts_with(token.content) &&
          (!best || token.content.size() > best->content.size()))
        best = &token;
    return best;
  }

  // Cuts `text` at the added tokens of one kind; `rest` is called with what is between them.
  template <typename Rest>
  void split(std::string_view text, bool normalized, bool match_special, std::vector<TokenId>& out,
             Rest rest) const {
    size_t done = 0;
    for (size_t at = 0; at < text.size();) {
      const AddedToken* token = token_at(text, at, normalized);
      if (token && (match_special || !token->special)) {
        rest(text.substr(done, at - done));
        out.push_back(token->id);
        done = at + token->content.size();
      }
      at += token ? token->content.size() : 1;
    }
    rest(text.substr(done));
  }

  std::vector<TokenId> encode(std::string_view text, bool match_special) const {
    std::vector<TokenId> out;
    const std::string repaired = unicode::replace_invalid_utf8(text);
    split(repaired, false, match_special, out, [&](std::string_view section) {
      std::string buffer;
      split(unicode::nfc(section, buffer), true, match_special, out, [&](std::string_view part) {
        gpt2.split(part, [&](std::string_view piece, bool) {
          const std::vector<TokenId> ids = fuzz::merge_by_definition(piece, file);
          out.insert(out.end(), ids.begin(), ids.end());
        });
      });
    });
    return out;
  }
};

void check_encode(const Reference& reference, std::string_view text, bool match_special) {
  const Tokenizer& tokenizer = reference.tokenizer;
  const EncodeOptions options{.match_special = match_special};
  std::vector<TokenId> ids;
  fuzz::expect(fuzz::works([&] { ids = tokenizer.encode(text, options); }), "a text is refused");
  const std::vector<TokenId> expected = reference.encode(text, match_special);
  fuzz::expect(ids == expected, "encoded as {}, expected {}", fuzz::ids_text(ids),
               fuzz::ids_text(expected));
  fuzz::expect(tokenizer.encode(text, options) == ids, "encoded in another way the second time");
  if (match_special) return;
  // Without special tokens there is one section, so the text comes back in its normal form.
  std::string buffer;
  const std::string repaired = unicode::replace_invalid_utf8(text);
  fuzz::expect(tokenizer.decode(ids) == unicode::nfc(repaired, buffer),
               "decode does not give the text back");
}

// Takes pairs of bytes for ids.
void check_decode(const Tokenizer& tokenizer, fuzz::Input input) {
  std::vector<TokenId> ids;
  std::string expected;
  bool known = true;
  while (!input.empty()) {
    const auto id = static_cast<TokenId>(input.number(2)) - 3;
    ids.push_back(id);
    known = known && id >= 0 && id < tokenizer.vocab_size();
    if (known) expected += tokenizer.bytes_of(id);
  }
  std::string text;
  const bool decoded = fuzz::works([&] { text = tokenizer.decode(ids); });
  fuzz::expect(decoded == known, "ids are {}", decoded ? "decoded, expected an Error" : "refused");
  fuzz::expect(!known || text == expected, "decode gives another text than bytes_of");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array<Reference, 2> kReferences{Reference(false), Reference(true)};
  fuzz::Input input(data, size);
  const uint8_t choice = input.byte();
  const Reference& reference = kReferences[choice & 1];
  check_decode(reference.tokenizer, input);
  check_encode(reference, input.rest(), choice & 2);
  return 0;
}
