#include "src/tokenizer/tokenizer_file.h"

#include <simdjson.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "kernels/common/check.h"
#include "src/io/json.h"
#include "src/io/one_line.h"
#include "src/tokenizer/byte_alphabet.h"

namespace midfill {

namespace {

using Element = simdjson::dom::element;
using Type = simdjson::dom::element_type;

// A JSON value and where it stands, "file: model.vocab".
class Node {
 public:
  Node(Element element, std::string_view origin, std::string path)
      : element_(element), origin_(origin), path_(std::move(path)) {}

  std::string where() const { return fmt::format("{}: {}", origin_, path_); }
  bool is_null() const { return element_.is_null(); }
  bool is_array() const { return element_.is_array(); }
  bool is_string() const { return element_.is_string(); }

  bool boolean() const {
    require(element_.is_bool(), "{} is {}, expected true or false", where(), shown());
    return element_.get_bool().value_unsafe();
  }
  std::string_view string() const {
    require(element_.is_string(), "{} is {}, expected a string", where(), shown());
    return element_.get_string().value_unsafe();
  }
  TokenId id() const {
    const auto value = element_.get_int64();
    require(value.error() == simdjson::SUCCESS && value.value_unsafe() >= 0 &&
                value.value_unsafe() < INT32_MAX,
            "{} is {}, expected an id from 0 to 2^31-2", where(), shown());
    return static_cast<TokenId>(value.value_unsafe());
  }
  simdjson::dom::array array() const {
    require(element_.is_array(), "{} is {}, expected an array", where(), shown());
    return element_.get_array().value_unsafe();
  }
  simdjson::dom::object object() const {
    require(element_.is_object(), "{} is {}, expected an object", where(), shown());
    return element_.get_object().value_unsafe();
  }

  std::optional<Node> find(std::string_view key) const {
    const auto found = object().at_key(key);
    if (found.error() != simdjson::SUCCESS) return std::nullopt;
    return Node(found.value_unsafe(), origin_,
                path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key));
  }
  Node at(std::string_view key) const {
    const std::optional<Node> found = find(key);
    require(found.has_value(), "{}: \"{}\" is missing", path_.empty() ? origin_ : where(), key);
    return *found;
  }
  Node item(Element element, size_t index) const {
    return Node(element, origin_, fmt::format("{}[{}]", path_, index));
  }
  // Throws unless every key is one of `known` and stands there once.
  void expect_keys(std::initializer_list<std::string_view> known) const {
    std::unordered_set<std::string_view> seen;
    for (const auto [key, value] : object()) {
      require(std::find(known.begin(), known.end(), key) != known.end(),
              "{}: key {} is not understood", path_.empty() ? origin_ : where(), in_quotes(key));
      require(seen.insert(key).second, "{}: key \"{}\" stands twice",
              path_.empty() ? origin_ : where(), key);
    }
  }
  void expect_null(std::string_view key, std::string_view reason) const {
    const std::optional<Node> value = find(key);
    require(!value || value->is_null(), "{} is {}, expected null: {}", value ? value->where() : "",
            value ? value->shown() : "", reason);
  }
  // The value as JSON, cut to a readable length.
  std::string shown() const { return one_line(simdjson::minify(element_), 60); }

 private:
  Element element_;
  std::string_view origin_;
  std::string path_;
};

bool read_normalizer(const Node& normalizer) {
  if (normalizer.is_null()) return false;
  const std::string_view type = normalizer.at("type").string();
  if (type == "Sequence") {
    normalizer.expect_keys({"type", "normalizers"});
    const Node list = normalizer.at("normalizers");
    bool nfc = false;
    size_t i = 0;
    for (const Element element : list.array()) nfc |= read_normalizer(list.item(element, i++));
    return nfc;
  }
  require(type == "NFC", "{}.type is {}, expected \"NFC\" or no normalizer", normalizer.where(),
          in_quotes(type));
  normalizer.expect_keys({"type"});
  return true;
}

void read_pre_tokenizer(const Node& node, std::vector<PreTokenizerStep>& steps) {
  using Kind = PreTokenizerStep::Kind;
  const std::string_view type = node.at("type").string();
  if (type == "Sequence") {
    node.expect_keys({"type", "pretokenizers"});
    const Node list = node.at("pretokenizers");
    size_t i = 0;
    for (const Element element : list.array()) read_pre_tokenizer(list.item(element, i++), steps);
    return;
  }
  require(steps.empty() || steps.back().kind != Kind::byte_level,
          "{}: a step after ByteLevel is not understood", node.where());
  PreTokenizerStep step;
  if (type == "ByteLevel") {
    node.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    step.add_prefix_space = node.at("add_prefix_space").boolean();
    if (const auto trim = node.find("trim_offsets")) trim->boolean();  // offsets only
    if (const auto use_regex = node.find("use_regex")) step.use_regex = use_regex->boolean();
  } else if (type == "Split") {
    node.expect_keys({"type", "pattern", "behavior", "invert"});
    step.kind = Kind::pattern;
    const Node pattern = node.at("pattern");
    pattern.expect_keys({"Regex", "String"});
    if (const auto regex = pattern.find("Regex")) {
      step.pattern.push_back(Pattern::regex(regex->string(), regex->where()));
    } else {
      const Node text = pattern.at("String");
      step.pattern.push_back(Pattern::literal(text.string(), text.where()));
    }
    const Node behavior = node.at("behavior");
    require(behavior.string() == "Isolated", "{} is {}, expected \"Isolated\"", behavior.where(),
            behavior.shown());
    const Node invert = node.at("invert");
    require(!invert.boolean(), "{} is true, expected false", invert.where());
  } else if (type == "Digits") {
    node.expect_keys({"type", "individual_digits"});
    step.kind = Kind::digits;
    step.individual_digits = node.at("individual_digits").boolean();
  } else {
    fail(
        "{}.type is {}, expected \"ByteLevel\", or a \"Sequence\" of \"Split\" and \"Digits\" that "
        "ends in it",
        node.where(), in_quotes(type));
  }
  steps.push_back(std::move(step));
}

void check_byte_level(const Node& node) {
  const std::string_view type = node.at("type").string();
  require(type == "ByteLevel", "{}.type is {}, expected \"ByteLevel\"", node.where(),
          in_quotes(type));
  node.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

using Ids = std::unordered_map<std::string_view, TokenId>;  // views of the file's vocabulary

Ids read_vocabulary(const Node& node, TokenizerFile& file) {
  const auto object = node.object();
  require(object.size() > 0, "{} is empty", node.where());
  Ids ids;
  // object.size() saturates at 2^24 - 1; a vocabulary beyond is refused by the ids it lacks.
  std::vector<std::string_view> tokens(object.size());
  std::vector<bool> taken(tokens.size());
  for (const auto [token, value] : object) {
    const auto id = value.get_uint64();
    if (id.error() || id.value_unsafe() >= tokens.size())
      fail("{}: {} has id {}, expected one from 0 to {}: {} tokens have ids without a gap",
           node.where(), in_quotes(token), one_line(simdjson::minify(value)), tokens.size() - 1,
           tokens.size());
    const size_t index = id.value_unsafe();
    if (!ids.emplace(token, static_cast<TokenId>(index)).second)
      fail("{}: {} stands twice", node.where(), in_quotes(token));
    if (taken[index])
      fail("{}: {} and {} both have id {}", node.where(), in_quotes(tokens[index]),
           in_quotes(token), index);
    tokens[index] = token;
    taken[index] = true;
  }
  file.vocabulary.assign(tokens.begin(), tokens.end());

  for (int byte = 0; byte < 256; ++byte) {
    const auto symbol = ids.find(byte_alphabet::symbols()[static_cast<size_t>(byte)]);
    file.byte_ids[static_cast<size_t>(byte)] = symbol == ids.end() ? -1 : symbol->second;
    const bool in_utf8 = byte < 0xC0 || (byte >= 0xC2 && byte <= 0xF4);
    require(!in_utf8 || symbol != ids.end(),
            "{}: no token {} for byte 0x{:02X}, so text with it would be lost", node.where(),
            in_quotes(byte_alphabet::symbols()[static_cast<size_t>(byte)]), byte);
  }
  return ids;
}

// "Ġ t", or ["Ġ", "t"]; nothing where it is neither.
std::optional<std::pair<std::string_view, std::string_view>> split_merge(Element merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.get_string().value_unsafe();
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
      return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  if (!merge.is_array() || merge.get_array().size() != 2) return std::nullopt;
  const auto left = merge.at(0).get_string(), right = merge.at(1).get_string();
  if (left.error() || right.error()) return std::nullopt;
  return std::pair(left.value_unsafe(), right.value_unsafe());
}

bool is_merges_header(Element merge) {
  return merge.is_string() && merge.get_string().value_unsafe().starts_with("#version");
}

void read_merges(const Node& node, const Ids& ids, TokenizerFile& file) {
  std::unordered_set<uint64_t> seen;
  std::string joined;
  size_t i = 0;
  for (const Element merge : node.array()) {
    const size_t index = i++;
    const auto refuse = [&](std::string_view why) {
      const Node at = node.item(merge, index);
      fail("{} is {}{}", at.where(), at.shown(), why);
    };
    const auto id_of = [&](std::string_view token) {
      const auto found = ids.find(token);
      if (found == ids.end()) refuse(fmt::format(": {} is not in model.vocab", in_quotes(token)));
      return found->second;
    };
    // Hugging Face takes such a string for the header of a merges.txt and passes over it.
    if (is_merges_header(merge)) continue;
    const auto parts = split_merge(merge);
    if (!parts) refuse(", expected two tokens: \"a b\" or [\"a\", \"b\"]");
    joined.assign(parts->first).append(parts->second);
    const Merge m{id_of(parts->first), id_of(parts->second), id_of(joined)};
    if (!seen.insert(static_cast<uint64_t>(m.left) << 32 | static_cast<uint64_t>(m.right)).second)
      refuse(", which stands twice");
    file.merges.push_back(m);
  }
}

Ids read_model(const Node& model, TokenizerFile& file) {
  if (const auto type = model.find("type"))
    require(type->string() == "BPE", "{} is {}, expected \"BPE\"", type->where(), type->shown());
  model.expect_keys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                     "merges"});
  model.expect_null("dropout", "encoding must not be random");
  // Every byte of a text has a symbol, so nothing is ever unknown: unk_token and fuse_unk do
  // nothing.
  if (const auto unk = model.find("unk_token"); unk && !unk->is_null()) unk->string();
  if (const auto fuse = model.find("fuse_unk")) fuse->boolean();
  if (const auto fallback = model.find("byte_fallback"))
    require(!fallback->boolean(), "{} is true, expected false: this is not a byte-level BPE",
            fallback->where());
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto affix = model.find(key);
    require(!affix || affix->is_null() || affix->string().empty(),
            "{} is {}, expected null or empty", affix ? affix->where() : "",
            affix ? affix->shown() : "");
  }
  if (const auto ignore = model.find("ignore_merges")) file.ignore_merges = ignore->boolean();
  const Ids ids = read_vocabulary(model.at("vocab"), file);
  read_merges(model.at("merges"), ids, file);
  return ids;
}

void read_added_tokens(const Node& list, const Ids& ids, TokenizerFile& file) {
  std::unordered_set<std::string_view> seen;
  auto next_id = static_cast<TokenId>(file.vocabulary.size());
  size_t i = 0;
  for (const Element element : list.array()) {
    const Node node = list.item(element, i++);
    node.expect_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const std::string_view content = node.at("content").string();
    require(!content.empty(), "{}.content is empty", node.where());
    require(seen.insert(content).second, "{}.content is {}, which stands twice", node.where(),
            in_quotes(content));
    const auto in_vocabulary = ids.find(content);
    const TokenId expected = in_vocabulary != ids.end() ? in_vocabulary->second : next_id++;
    const TokenId id = node.at("id").id();
    require(id == expected, "{} ({}) has id {}, expected {}: {}", node.where(), in_quotes(content),
            id, expected,
            in_vocabulary != ids.end()
                ? "its id in model.vocab"
                : "the next after the vocabulary and the added tokens before");
    file.added.push_back({.id = id,
                          .content = std::string(content),
                          .single_word = node.at("single_word").boolean(),
                          .lstrip = node.at("lstrip").boolean(),
                          .rstrip = node.at("rstrip").boolean(),
                          .normalized = node.at("normalized").boolean(),
                          .special = node.at("special").boolean()});
  }
}

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view json, std::string_view origin) {
  simdjson::dom::parser parser;
  Element document;
  const auto error = parser.parse(json.data(), json.size()).get(document);
  if (error != simdjson::SUCCESS) {
    parse_json(json, origin);  // says where
    fail("{}: not valid JSON: {}", origin, simdjson::error_message(error));
  }
  require(document.is_object(), "{}: expected a JSON object", origin);
  const Node root(document, origin, "");
  root.expect_keys({"version", "truncation", "padding", "added_tokens", "normalizer",
                    "pre_tokenizer", "post_processor", "decoder", "model"});
  if (const auto version = root.find("version"))
    require(version->string() == "1.0", "{} is {}, expected \"1.0\"", version->where(),
            version->shown());
  root.expect_null("truncation", "midfill encodes the whole text");
  root.expect_null("padding", "midfill adds nothing to the ids");

  TokenizerFile file;
  const Ids ids = read_model(root.at("model"), file);
  if (const auto normalizer = root.find("normalizer")) file.nfc = read_normalizer(*normalizer);
  const Node pre_tokenizer = root.at("pre_tokenizer");
  require(!pre_tokenizer.is_null(), "{} is null, expected \"ByteLevel\"", pre_tokenizer.where());
  read_pre_tokenizer(pre_tokenizer, file.pre_tokenizer);
  require(!file.pre_tokenizer.empty() &&
              file.pre_tokenizer.back().kind == PreTokenizerStep::Kind::byte_level,
          "{}: the last step is not \"ByteLevel\"", pre_tokenizer.where());
  if (const auto post = root.find("post_processor"); post && !post->is_null())
    check_byte_level(*post);
  check_byte_level(root.at("decoder"));
  if (const auto added = root.find("added_tokens"); added && !added->is_null())
    read_added_tokens(*added, ids, file);
  return file;
}

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
