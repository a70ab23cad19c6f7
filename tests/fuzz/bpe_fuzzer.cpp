// Merges of the fuzzer's making, which no training would give: ranks that do not follow the ids,
// tokens with several merges, merges that no text reaches. Ids are those of the definition.
//
// First byte: the number of merges, and in its high bit "ignore_merges"; then two bytes a merge,
// which choose among the tokens so far; then text of four letters and the space.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "src/tokenizer/byte_alphabet.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/small_tokenizer.h"

namespace {

using namespace midfill;

constexpr std::string_view kLetters = "abcd ";
constexpr size_t kLongestText = 300, kLongestToken = 64;

std::string tokenizer_json(fuzz::Input& input, size_t n_merges, bool ignore_merges) {
  std::vector<std::string> vocabulary;
  for (const uint8_t byte : byte_alphabet::bytes_in_order())
    vocabulary.push_back(byte_alphabet::symbols()[byte]);
  // What merges are made of: ids of the letters, then of what they were merged to.
  std::vector<TokenId> parts;
  for (const char c : kLetters) {
    const std::string& symbol = byte_alphabet::symbols()[static_cast<uint8_t>(c)];
    parts.push_back(
        static_cast<TokenId>(std::ranges::find(vocabulary, symbol) - vocabulary.begin()));
  }
  std::vector<Merge> merges;
  for (size_t i = 0; i < n_merges; ++i) {
    const TokenId left = parts[input.byte() % parts.size()];
    const TokenId right = parts[input.byte() % parts.size()];
    const std::string token =
        vocabulary[static_cast<size_t>(left)] + vocabulary[static_cast<size_t>(right)];
    const bool twice = std::ranges::any_of(
        merges, [&](const Merge& m) { return m.left == left && m.right == right; });
    if (twice || token.size() > kLongestToken) continue;
    const auto found = std::ranges::find(vocabulary, token);
    const auto result = static_cast<TokenId>(found - vocabulary.begin());
    if (found == vocabulary.end()) vocabulary.push_back(token);
    parts.push_back(result);
    merges.push_back({left, right, result});
  }
  std::string json = write_tokenizer_file(vocabulary, merges, {});
  if (ignore_merges) {
    const std::string_view before = "\"byte_fallback\": false,";
    json.insert(json.find(before), "\"ignore_merges\": true, ");
  }
  return json;
}

std::vector<TokenId> piece_by_definition(std::string_view piece, const TokenizerFile& file) {
  if (file.ignore_merges) {
    const auto whole = std::ranges::find(file.vocabulary, byte_alphabet::from_bytes(piece));
    if (whole != file.vocabulary.end())
      return {static_cast<TokenId>(whole - file.vocabulary.begin())};
  }
  return fuzz::merge_by_definition(piece, file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const uint8_t choice = input.byte();
  const std::string json = tokenizer_json(input, choice & 63, choice & 128);
  std::string text;
  while (!input.empty() && text.size() < kLongestText)
    text += kLetters[input.byte() % kLetters.size()];

  const Tokenizer tokenizer = Tokenizer::from_json(json, "merges");
  const TokenizerFile file = parse_tokenizer_file(json, "merges");
  std::vector<TokenId> expected;
  for (size_t at = 0; at < text.size();) {
    const size_t end = gpt2_piece_end(text, at);
    const auto ids = piece_by_definition(std::string_view(text).substr(at, end - at), file);
    expected.insert(expected.end(), ids.begin(), ids.end());
    at = end;
  }
  for (int i = 0; i < 2; ++i) {  // the second time from a cache
    const std::vector<TokenId> ids = tokenizer.encode(text);
    fuzz::expect(ids == expected, "\"{}\" is encoded as {}, expected {}", text, fuzz::ids_text(ids),
                 fuzz::ids_text(expected));
    fuzz::expect(tokenizer.decode(ids) == text, "decode does not give the text back");
  }
  return 0;
}
