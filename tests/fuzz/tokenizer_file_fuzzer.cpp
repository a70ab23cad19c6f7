// A tokenizer.json, and behind a NUL byte a text. Byte 1 in the JSON stands for the 256 symbols
// that every vocabulary has, byte 2 for a ByteLevel object, so that short inputs are whole files.
// What is accepted encodes the text, decodes the ids, and survives to_json and back.
#include <algorithm>

#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/small_tokenizer.h"

namespace {

using namespace midfill;

constexpr int kMostSymbols = 4;  // times that byte 1 counts

const std::string& symbols_json() {
  static const std::string kText = [] {
    std::string text;
    int id = 0;
    for (const uint8_t byte : byte_alphabet::bytes_in_order()) {
      const std::string& symbol = byte_alphabet::symbols()[byte];
      const bool escaped = symbol == "\"" || symbol == "\\";
      text += fmt::format("{}\"{}{}\":{}", id == 0 ? "" : ",", escaped ? "\\" : "", symbol, id);
      ++id;
    }
    return text;
  }();
  return kText;
}

std::string expand(std::string_view json) {
  std::string out;
  int symbols = 0;
  for (const char c : json) {
    if (c == 1 && symbols++ < kMostSymbols) {
      out += symbols_json();
    } else if (c == 2) {
      out += R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true})";
    } else {
      out += c;
    }
  }
  return out;
}

// Encodes; nothing where a pattern of the file fails on the text, which is an Error.
std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> ids;
  if (!fuzz::works([&] { ids = tokenizer.encode(text); })) return {};
  for (const TokenId id : ids)
    fuzz::expect(id >= 0 && id < tokenizer.vocab_size(), "encode gives id {} of {}", id,
                 tokenizer.vocab_size());
  return ids;
}

void use(const Tokenizer& tokenizer, std::string_view text) {
  std::string all;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) all += tokenizer.bytes_of(id);
  fuzz::expect(tokenizer.vocab_size() >= 246, "{} ids", tokenizer.vocab_size());

  const std::vector<TokenId> ids = encode(tokenizer, text);
  fuzz::expect(fuzz::works([&] { tokenizer.decode(ids); }), "own ids are not decoded");
  encode(tokenizer, all);

  const std::string json = tokenizer.to_json();
  fuzz::expect(fuzz::works([&] {
                 const Tokenizer again = Tokenizer::from_json(json, "to_json");
                 fuzz::expect(again.to_json() == json, "to_json changes the second time");
                 fuzz::expect(again.summary() == tokenizer.summary(), "{}, before {}",
                              again.summary(), tokenizer.summary());
                 fuzz::expect(encode(again, text) == ids, "encoded in another way after to_json");
               }),
               "what to_json wrote is refused");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string json = expand(input.until('\0'));
  fuzz::works([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(json, "tokenizer.json");
    use(tokenizer, input.rest());
  });
  return 0;
}
