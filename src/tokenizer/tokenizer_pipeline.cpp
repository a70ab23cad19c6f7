#include "src/tokenizer/tokenizer_pipeline.h"

#include <algorithm>
#include <utility>

namespace midfill {

namespace {

using Node = JsonNode;
using Kind = PreTokenizerStep::Kind;
using Behavior = PreTokenizerStep::Behavior;

// Calls read(item) for each item of the list of a "Sequence".
template <typename Read>
void each_item(const Node& sequence, std::string_view key, Read&& read) {
  sequence.expect_keys({"type", key});
  const Node list = sequence.at(key);
  size_t i = 0;
  for (const Node::Element element : list.array()) read(list.item(element, i++));
}

unicode::Form read_normalizer(const Node& normalizer) {
  if (normalizer.is_null()) return unicode::Form::none;
  const std::string_view type = normalizer.at("type").string();
  if (type == "Sequence") {
    // Each form contains the ones before it.
    auto form = unicode::Form::none;
    each_item(normalizer, "normalizers",
              [&](const Node& item) { form = std::max(form, read_normalizer(item)); });
    return form;
  }
  require(type == "NFC" || type == "NFKC",
          "{}.type is {}, expected \"NFC\", \"NFKC\" or no normalizer", normalizer.where(),
          in_quotes(type));
  normalizer.expect_keys({"type"});
  return type == "NFC" ? unicode::Form::nfc : unicode::Form::nfkc;
}

void read_behavior(const Node& node, bool invert, PreTokenizerStep& step) {
  constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Isolated", Behavior::isolated},
      {"Contiguous", Behavior::contiguous},
      {"MergedWithPrevious", Behavior::merged_with_previous},
      {"MergedWithNext", Behavior::merged_with_next}};
  const std::string_view name = node.string();
  if (name == "Removed") {
    require(invert, "{} is \"Removed\": the text that matches would be lost", node.where());
    step.behavior = Behavior::gaps_removed;
    return;
  }
  const auto* const known =
      std::ranges::find(kNames, name, &std::pair<std::string_view, Behavior>::first);
  require(known != std::end(kNames),
          "{} is {}, expected \"Isolated\", \"Contiguous\", \"MergedWithPrevious\", "
          "\"MergedWithNext\", or \"Removed\" with \"invert\"",
          node.where(), node.shown());
  step.behavior = known->second;
  step.invert = invert;
}

PreTokenizerStep read_split(const Node& node) {
  node.expect_keys({"type", "pattern", "behavior", "invert"});
  PreTokenizerStep step;
  step.kind = Kind::pattern;
  const Node pattern = node.at("pattern");
  pattern.expect_keys({"Regex", "String"});
  if (const auto regex = pattern.find("Regex")) {
    step.pattern.push_back(Pattern::regex(regex->string(), regex->where()));
  } else {
    const Node text = pattern.at("String");
    step.pattern.push_back(Pattern::literal(text.string(), text.where()));
  }
  read_behavior(node.at("behavior"), node.at("invert").boolean(), step);
  if (step.behavior == Behavior::gaps_removed) {
    const char32_t lost = step.pattern[0].unmatched_character();
    require(lost == U'\0',
            "{} is \"Removed\" with \"invert\": text that the pattern does not match, such as "
            "U+{:04X}, would be lost",
            node.at("behavior").where(), static_cast<uint32_t>(lost));
  }
  return step;
}

PreTokenizerStep read_byte_level(const Node& node) {
  node.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  PreTokenizerStep step;
  step.add_prefix_space = node.at("add_prefix_space").boolean();
  if (const auto trim = node.find("trim_offsets")) trim->boolean();  // offsets only
  if (const auto use_regex = node.find("use_regex")) step.use_regex = use_regex->boolean();
  return step;
}

PreTokenizerStep read_step(const Node& node, std::string_view type) {
  if (type == "ByteLevel") return read_byte_level(node);
  if (type == "Split") return read_split(node);
  PreTokenizerStep step;
  if (type == "Digits") {
    node.expect_keys({"type", "individual_digits"});
    step.kind = Kind::digits;
    step.behavior =
        node.at("individual_digits").boolean() ? Behavior::isolated : Behavior::contiguous;
    return step;
  }
  require(
      type == "Punctuation",
      "{}.type is {}, expected \"ByteLevel\", or a \"Sequence\" of it and \"Split\", \"Digits\", "
      "\"Punctuation\"",
      node.where(), in_quotes(type));
  node.expect_keys({"type", "behavior"});
  step.kind = Kind::punctuation;
  if (const auto behavior = node.find("behavior")) read_behavior(*behavior, false, step);
  return step;
}

void read_pre_tokenizer(const Node& node, std::vector<PreTokenizerStep>& steps) {
  const std::string_view type = node.at("type").string();
  if (type == "Sequence") {
    each_item(node, "pretokenizers", [&](const Node& item) { read_pre_tokenizer(item, steps); });
    return;
  }
  steps.push_back(read_step(node, type));
  const auto bytes = std::ranges::count(steps, Kind::byte_level, &PreTokenizerStep::kind);
  require(bytes <= 1, "{}: a second \"ByteLevel\" would spell the bytes of its symbols",
          node.where());
}

// What adds special tokens, which a text has only on demand, or moves offsets.
void check_post_processor(const Node& node) {
  if (node.is_null()) return;
  const std::string_view type = node.at("type").string();
  if (type == "Sequence") return each_item(node, "processors", check_post_processor);
  for (std::string_view known :
       {"ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing"})
    if (type == known) return;
  fail(
      "{}.type is {}, expected \"ByteLevel\", \"TemplateProcessing\", \"RobertaProcessing\", "
      "\"BertProcessing\", or a \"Sequence\" of these",
      node.where(), in_quotes(type));
}

// midfill decodes by the bytes of the tokens; a decoder of another kind says that they are not
// such.
void check_decoder(const Node& node) {
  if (node.is_null()) return;
  const std::string_view type = node.at("type").string();
  if (type == "Sequence") return each_item(node, "decoders", check_decoder);
  require(type == "ByteLevel" || type == "Fuse", "{}.type is {}, expected \"ByteLevel\"",
          node.where(), in_quotes(type));
}

}  // namespace

void read_pipeline(const Node& root, TokenizerFile& file) {
  if (const auto normalizer = root.find("normalizer"))
    file.normal_form = read_normalizer(*normalizer);
  const Node pre_tokenizer = root.at("pre_tokenizer");
  require(!pre_tokenizer.is_null(), "{} is null, expected \"ByteLevel\"", pre_tokenizer.where());
  read_pre_tokenizer(pre_tokenizer, file.pre_tokenizer);
  require(std::ranges::count(file.pre_tokenizer, Kind::byte_level, &PreTokenizerStep::kind) == 1,
          "{}: no step is \"ByteLevel\"", pre_tokenizer.where());
  if (const auto post = root.find("post_processor")) check_post_processor(*post);
  if (const auto decoder = root.find("decoder")) check_decoder(*decoder);
  for (const char* limit : {"truncation", "padding"}) {
    const auto state = root.find(limit);
    if (!state || state->is_null()) continue;
    state->object();
    file.passed_over.push_back(fmt::format(
        "\"{}\" is passed over: the ids are those of the whole text and of nothing else", limit));
  }
}

}  // namespace midfill
