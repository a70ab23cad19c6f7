// tokenizer.json as text: written anew, and edited so that every other byte stays as it was.
#include <algorithm>

#include "src/io/json.h"
#include "src/tokenizer/tokenizer_file.h"

namespace midfill {

namespace {

std::string as_json(std::string_view text) {
  return Json(text).dump();
}

std::string added_token_json(const AddedToken& token, std::string_view indent) {
  return fmt::format(
      "{0}{{\n{0}  \"id\": {1},\n{0}  \"content\": {2},\n{0}  \"single_word\": {3},\n"
      "{0}  \"lstrip\": {4},\n{0}  \"rstrip\": {5},\n{0}  \"normalized\": {6},\n"
      "{0}  \"special\": {7}\n{0}}}",
      indent, token.id, as_json(token.content), token.single_word, token.lstrip, token.rstrip,
      token.normalized, token.special);
}

std::string added_tokens_json(std::span<const AddedToken> tokens) {
  std::string text;
  for (const AddedToken& token : tokens) {
    if (!text.empty()) text += ",\n";
    text += added_token_json(token, "    ");
  }
  return text;
}

// The position just after the string literal that begins at json[at].
size_t after_string(std::string_view json, size_t at) {
  for (++at; json[at] != '"'; ++at)
    if (json[at] == '\\') ++at;
  return at + 1;
}

// The range of the value of a key of the outermost object; empty where there is no such key.
std::string_view outer_value(std::string_view json, std::string_view wanted) {
  constexpr std::string_view kBlank = " \t\r\n";
  int depth = 0;
  for (size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != '"') continue;
    const size_t begin = at, end = after_string(json, at);
    at = end - 1;
    const size_t colon = json.find_first_not_of(kBlank, end);
    if (depth != 1 || json[colon] != ':' || Json::parse(json.substr(begin, end - begin)) != wanted)
      continue;
    const size_t value = json.find_first_not_of(kBlank, colon + 1);
    size_t i = value;
    int nested = 0;
    for (;; ++i) {
      if (json[i] == '"') i = after_string(json, i) - 1;
      if (json[i] == '[' || json[i] == '{') ++nested;
      if (nested == 0 && (json[i] == ',' || json[i] == '}')) break;
      if (json[i] == ']' || json[i] == '}') --nested;
    }
    const std::string_view text = json.substr(value, i - value);
    return text.substr(0, text.find_last_not_of(kBlank) + 1);
  }
  return {};
}

}  // namespace

std::string with_added_tokens(std::string_view json, std::span<const AddedToken> more) {
  if (more.empty()) return std::string(json);
  const std::string tokens = added_tokens_json(more);
  const std::string_view list = outer_value(json, "added_tokens");
  if (list.empty())
    return fmt::format("{{\n  \"added_tokens\": [\n{}\n  ],{}", tokens,
                       json.substr(json.find('{') + 1));
  const auto begin = static_cast<size_t>(list.data() - json.data());
  const std::string_view before = json.substr(0, begin), after = json.substr(begin + list.size());
  std::string_view inside = list == "null" ? "" : list.substr(1, list.size() - 2);
  inside = inside.substr(0, inside.find_last_not_of(" \t\r\n") + 1);
  return fmt::format("{}[{}{}\n{}\n  ]{}", before, inside, inside.empty() ? "" : ",", tokens,
                     after);
}

std::string without_limits(std::string_view json) {
  std::string text(json);
  for (const char* key : {"truncation", "padding"}) {
    const std::string_view value = outer_value(text, key);
    if (!value.empty())
      text.replace(static_cast<size_t>(value.data() - text.data()), value.size(), "null");
  }
  return text;
}

std::string write_tokenizer_file(const std::vector<std::string>& vocabulary,
                                 const std::vector<Merge>& merges,
                                 std::span<const AddedToken> added) {
  const std::string_view byte_level =
      "{\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": false,\n"
      "    \"trim_offsets\": true,\n    \"use_regex\": true\n  }";
  std::string vocab_lines, merge_lines;
  for (size_t id = 0; id < vocabulary.size(); ++id)
    vocab_lines += fmt::format("{}\n      {}: {}", id == 0 ? "" : ",", as_json(vocabulary[id]), id);
  for (size_t rank = 0; rank < merges.size(); ++rank)
    merge_lines += fmt::format("{}\n      {}", rank == 0 ? "" : ",",
                               as_json(vocabulary[static_cast<size_t>(merges[rank].left)] + " " +
                                       vocabulary[static_cast<size_t>(merges[rank].right)]));
  return fmt::format(
      "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n"
      "  \"added_tokens\": [\n{}\n  ],\n  \"normalizer\": {{\n    \"type\": \"NFC\"\n  }},\n"
      "  \"pre_tokenizer\": {},\n  \"post_processor\": {},\n  \"decoder\": {},\n"
      "  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
      "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"vocab\": {{{}\n    }},\n"
      "    \"merges\": [{}\n    ]\n  }}\n}}\n",
      added_tokens_json(added), byte_level, byte_level, byte_level, vocab_lines, merge_lines);
}

}  // namespace midfill
