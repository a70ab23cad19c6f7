#include "src/checkpoint/gguf_vocabulary.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "kernels/common/check.h"
#include "src/io/json.h"
#include "src/io/one_line.h"
#include "src/tokenizer/tokenizer_file.h"

namespace midfill {

namespace {

// llama_token_type
constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

constexpr const char* kGpt2 = "ByteLevel with the GPT-2 pattern";
constexpr const char* kBytes = "ByteLevel without a pattern";
constexpr const char* kDigits = "single Digits";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The pipelines that llama.cpp has under a name. A tokenizer's must be one of them to the letter:
// the tests compare ids for each. Other names of llama.cpp stand for these too, or for patterns
// that are only nearly those of the tokenizers they are named after.
struct Pipeline {
  const char* pre;
  bool ignore_merges;
  std::vector<std::string> steps;
};

const std::vector<Pipeline>& pipelines() {
  static const std::vector<Pipeline> known = {{"gpt-2", false, {kGpt2}},
                                              {"starcoder", false, {kDigits, kGpt2}},
                                              {"qwen2", false, {kQwen2, kBytes}},
                                              {"smaug-bpe", false, {kLlama3, kBytes}},
                                              {"llama-bpe", true, {kLlama3, kBytes}}};
  return known;
}

// And each gap, of which the pattern leaves none where they are to be removed.
bool makes_each_match_a_piece(const Json& split) {
  return split["behavior"] == "Isolated" ||
         (split["behavior"] == "Removed" && split["invert"] == true);
}

// The steps of a pre-tokenizer that parse_tokenizer_file has accepted; what no pipeline above has
// is shown as it stands.
void add_steps(const Json& node, std::vector<std::string>& steps) {
  const std::string type = node["type"];
  if (type == "Sequence") {
    for (const Json& step : node["pretokenizers"]) add_steps(step, steps);
  } else if (type == "ByteLevel" && node["add_prefix_space"] == false) {
    steps.emplace_back(node.value("use_regex", true) ? kGpt2 : kBytes);
  } else if (type == "Digits" && node["individual_digits"] == true) {
    steps.emplace_back(kDigits);
  } else if (type == "Split" && node["pattern"].contains("Regex") &&
             makes_each_match_a_piece(node)) {
    steps.push_back(node["pattern"]["Regex"]);
  } else {
    steps.push_back(node.dump());
  }
}

std::string pre_tokenizer_name(const Json& json, bool ignore_merges, std::string_view origin) {
  std::vector<std::string> steps;
  add_steps(json["pre_tokenizer"], steps);
  for (const Pipeline& known : pipelines())
    if (known.ignore_merges == ignore_merges && known.steps == steps) return known.pre;
  fail(
      "{}: llama.cpp has no name for this pre-tokenizer ({}{}); expected the GPT-2 pattern, with "
      "or "
      "without single digits before it, or that of Qwen 2 or Llama 3",
      origin, one_line(fmt::format("{}", fmt::join(steps, ", then "))),
      ignore_merges ? ", with ignore_merges" : "");
}

bool same_character(std::string_view a, std::string_view b) {
  const auto is_run = [&](std::string_view text) {
    return text.find_first_not_of(a[0]) == std::string_view::npos;
  };
  return is_run(a) && is_run(b);
}

// Whether a text can end `a` and begin `b` at once.
bool overlap(std::string_view a, std::string_view b) {
  for (size_t length = 1; length < std::min(a.size(), b.size()); ++length)
    if (a.substr(a.size() - length) == b.substr(0, length)) return true;
  return false;
}

// Tokens that are matched in every text: Hugging Face takes the leftmost, of several the longest,
// llama.cpp the longest wherever it stands. The same for runs of a character and where no longer
// one can begin inside a shorter one.
void check_matching(const std::vector<AddedToken>& added, const Tokenizer& tokenizer,
                    std::string_view origin) {
  std::vector<const AddedToken*> matched;
  for (const AddedToken& token : added)
    if (!tokenizer.is_special(token.id)) matched.push_back(&token);
  for (const AddedToken* a : matched) {
    require(!a->single_word && !a->lstrip && !a->rstrip,
            "{}: llama.cpp matches the added token {} everywhere, expected no single_word, lstrip "
            "or rstrip",
            origin, in_quotes(a->content));
    for (const AddedToken* b : matched) {
      require(
          a->normalized == b->normalized,
          "{}: llama.cpp matches all added tokens at once, expected the same \"normalized\" for "
          "{} and {}",
          origin, in_quotes(a->content), in_quotes(b->content));
      require(
          a == b || b->content.size() < a->content.size() ||
              same_character(a->content, b->content) || !overlap(a->content, b->content),
          "{}: llama.cpp matches the added token {} before {}, expected none that begins inside "
          "a shorter one",
          origin, in_quotes(b->content), in_quotes(a->content));
    }
  }
}

// A name for a row without a token.
std::string unused_name(size_t row, const std::unordered_set<std::string_view>& taken) {
  std::string name = fmt::format("[PAD{}]", row);
  while (taken.contains(name)) name += '_';
  return name;
}

}  // namespace

GgufVocabulary gguf_vocabulary(const Tokenizer& tokenizer, int rows, std::string_view origin) {
  const std::string text = tokenizer.to_json();
  const TokenizerFile file = parse_tokenizer_file(text, origin);
  tokenizer.required_eod();  // without it llama.cpp would take another token for the end of a text
  require(tokenizer.vocab_size() <= rows, "{}: {} ids, expected at most {}, the model's rows",
          origin, tokenizer.vocab_size(), rows);
  check_matching(file.added, tokenizer, origin);

  GgufVocabulary vocabulary;
  vocabulary.pre = pre_tokenizer_name(parse_json(text, origin), file.ignore_merges, origin);
  vocabulary.tokens = file.vocabulary;
  vocabulary.types.assign(file.vocabulary.size(), kNormal);
  vocabulary.tokens.resize(static_cast<size_t>(rows));
  vocabulary.types.resize(static_cast<size_t>(rows), kUnused);
  for (const AddedToken& token : file.added) {
    vocabulary.tokens[static_cast<size_t>(token.id)] = token.content;
    vocabulary.types[static_cast<size_t>(token.id)] = kUserDefined;
  }
  const std::unordered_set<std::string_view> taken(
      vocabulary.tokens.begin(), vocabulary.tokens.begin() + tokenizer.vocab_size());
  for (int id = 0; id < rows; ++id) {
    const auto i = static_cast<size_t>(id);
    if (tokenizer.is_special(id)) vocabulary.types[i] = kControl;
    if (vocabulary.tokens[i].empty()) {
      vocabulary.tokens[i] = unused_name(i, taken);
      vocabulary.types[i] = kUnused;
    }
    if (vocabulary.types[i] == kUnused ||
        (tokenizer.is_special(id) && id != tokenizer.sentinels().eod))
      vocabulary.never_sampled.push_back(id);
  }
  for (const Merge& merge : file.merges)
    vocabulary.merges.push_back(file.vocabulary[static_cast<size_t>(merge.left)] + " " +
                                file.vocabulary[static_cast<size_t>(merge.right)]);
  if (file.normal_form != unicode::Form::none)
    vocabulary.lost.push_back(fmt::format(
        "llama.cpp does not normalise: a text that is not in {} gets other ids than here",
        file.normal_form == unicode::Form::nfc ? "NFC" : "NFKC"));
  return vocabulary;
}

}  // namespace midfill
