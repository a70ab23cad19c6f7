#include "src/tokenizer/tokenizer_file.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "src/io/json.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/json_node.h"
#include "src/tokenizer/tokenizer_pipeline.h"

namespace midfill {

namespace {

using Element = JsonNode::Element;
using Node = JsonNode;

using Ids = std::unordered_map<std::string_view, TokenId>;  // views of the file's vocabulary

// Ids may leave gaps, as those of OpenAI's vocabularies do, but none so wide that memory is wasted.
constexpr size_t kIdsPerToken = 2, kGapIds = 65'536;

Ids read_vocabulary(const Node& node, TokenizerFile& file) {
  const auto object = node.object();
  require(object.size() > 0, "{} is empty", node.where());
  const size_t end = kIdsPerToken * object.size() + kGapIds;
  Ids ids;
  std::vector<std::string_view> tokens;
  for (const auto [token, value] : object) {
    const auto id = value.get_uint64();
    if (id.error() || id.value_unsafe() >= end)
      fail("{}: {} has id {}, expected one from 0 to {} ({} for each of {} tokens, and {})",
           node.where(), in_quotes(token), one_line(simdjson::minify(value)), end - 1, kIdsPerToken,
           object.size(), kGapIds);
    const size_t index = id.value_unsafe();
    if (!ids.emplace(token, static_cast<TokenId>(index)).second)
      fail("{}: {} stands twice", node.where(), in_quotes(token));
    if (index >= tokens.size()) tokens.resize(index + 1);
    if (tokens[index].data() != nullptr)
      fail("{}: {} and {} both have id {}", node.where(), in_quotes(tokens[index]),
           in_quotes(token), index);
    tokens[index] = token;
  }
  file.vocabulary.assign(tokens.begin(), tokens.end());
  file.vocabulary_tokens = ids.size();

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

bool has_byte_symbols(const Node& vocabulary) {
  return vocabulary.find(byte_alphabet::symbols()[' ']).has_value();
}

Ids read_model(const Node& model, TokenizerFile& file) {
  if (const auto type = model.find("type"))
    require(type->string() == "BPE", "{} is {}, expected \"BPE\"", type->where(), type->shown());
  model.expect_keys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                     "merges"});
  model.expect_null("dropout", "encoding must not be random");
  // Every byte of a text has a symbol, so nothing is ever unknown: unk_token, fuse_unk
  // and byte_fallback do nothing.
  if (const auto unk = model.find("unk_token"); unk && !unk->is_null()) unk->string();
  if (const auto fuse = model.find("fuse_unk")) fuse->boolean();
  if (const auto fallback = model.find("byte_fallback"); fallback && fallback->boolean())
    require(has_byte_symbols(model.at("vocab")),
            "{} is true, and model.vocab has no token \"Ġ\": this is not a byte-level BPE",
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
  size_t i = 0;
  for (const Element element : list.array()) {
    const Node node = list.item(element, i++);
    node.expect_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const std::string_view content = node.at("content").string();
    require(!content.empty(), "{}.content is empty", node.where());
    require(seen.insert(content).second, "{}.content is {}, which stands twice", node.where(),
            in_quotes(content));
    const auto in_vocabulary = ids.find(content);
    const TokenId expected =
        in_vocabulary != ids.end() ? in_vocabulary->second : file.next_id(node.where());
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

TokenId TokenizerFile::next_id(std::string_view origin) const {
  TokenId id = -1;
  for (const AddedToken& token : added) id = std::max(id, token.id);
  id = std::max(id + 1, static_cast<TokenId>(vocabulary_tokens));
  const auto index = static_cast<size_t>(id);
  require(index >= vocabulary.size() || vocabulary[index].empty(),
          "{}: an added token would get id {} there, which is that of {}: the ids of model.vocab "
          "leave a gap",
          origin, id, index < vocabulary.size() ? in_quotes(vocabulary[index]) : "");
  return id;
}

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

  TokenizerFile file;
  const Ids ids = read_model(root.at("model"), file);
  read_pipeline(root, file);
  if (const auto added = root.find("added_tokens"); added && !added->is_null())
    read_added_tokens(*added, ids, file);
  return file;
}

}  // namespace midfill
