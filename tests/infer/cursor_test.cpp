// Cursors inside words: the prompt is, token for token, what training has for the same cut.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "src/data/fim.h"
#include "src/data/sample_stream.h"
#include "src/infer/infill.h"
#include "src/tokenizer/bpe_trainer.h"
#include "src/tokenizer/unicode.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using Ids = std::vector<TokenId>;

constexpr SegmentKind kModes[] = {SegmentKind::psm, SegmentKind::spm1, SegmentKind::spm2};
constexpr int kContext = 192;

const std::string& pick(Rng& rng, const std::vector<std::string>& from) {
  return from[rng.below(from.size())];
}

std::string code(Rng& rng) {
  static const std::vector<std::string> names = {"compute_total", "readBuffer",  "HTTPRequest",
                                                 "n_tokens2",     "serialize",   "std::vector",
                                                 "self.weights",  "kLongestRun", "0x1F3a"};
  static const std::vector<std::string> lines = {"def {}({}):\n", "        return {} + {};\n",
                                                 "\tif (!{}->{}) {{\r\n", "// don't {}, we'll {}\n",
                                                 "{}[{}] = \"\";\n\n"};
  std::string text;
  for (int i = 0; i < 12; ++i)
    text += fmt::format(fmt::runtime(pick(rng, lines)), pick(rng, names), pick(rng, names));
  return text;
}

std::string prose(Rng& rng) {
  static const std::vector<std::string> words = {
      "information", "the",     "It's",  "wouldn't",    "characteristically", "na\u00efve", "of",
      "through",     "they'll", "1,024", "M\u00fcller", "beginning,",         "a",          "end."};
  std::string text;
  for (int i = 0; i < 60; ++i) text += pick(rng, words) + (rng.below(12) == 0 ? "\n\n" : " ");
  return text;
}

std::string cjk(Rng& rng) {
  static const std::vector<std::string> words = {"\u4e2d\u6587",
                                                 "\u65e5\u672c\u8a9e\u306e",
                                                 "\u30c6\u30ad\u30b9\u30c8",
                                                 "\ud55c\uad6d\uc5b4",
                                                 "\u3002",
                                                 "\uff0c",
                                                 "GPU",
                                                 "\U0001F600",
                                                 "\u3000",
                                                 "12"};
  std::string text;
  for (int i = 0; i < 90; ++i) text += pick(rng, words);
  return text;
}

std::string spaces(Rng& rng) {
  static const std::vector<std::string> runs = {" ",    "  ",   "\t",     "\t\t\t", "\n",
                                                "\r\n", "\n\n", "\u00a0", "x",      "return"};
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += rng.below(3) == 0 ? std::string(rng.below(70), ' ') : pick(rng, runs);
  return text;
}

std::string mixed(Rng& rng) {
  return test::random_text(rng, 600);
}

using Text = std::string (*)(Rng&);
constexpr std::pair<const char*, Text> kTexts[] = {
    {"code", code}, {"prose", prose}, {"cjk", cjk}, {"spaces", spaces}, {"mixed", mixed}};

std::string random_document(Text text, uint64_t number) {
  Rng rng(3, Purpose::kTest, 0, number);
  return text(rng);
}

const Tokenizer& self_trained() {
  static const Tokenizer tokenizer = [] {
    PieceCounts counts(/*space_runs=*/true);
    for (const auto& [name, text] : kTexts)
      for (uint64_t i = 0; i < 100; ++i) counts.add(random_document(text, i));
    return Tokenizer::from_json(train_bpe(counts, {.vocab_size = 500}), "self-trained");
  }();
  return tokenizer;
}

struct Tokenizers {
  std::optional<Tokenizer> neox;  // GPT-NeoX-20B's, where it is there
  std::vector<const Tokenizer*> all = {&self_trained()};
  Tokenizers() {
    if (const auto path = test::test_data("20B_tokenizer.json")) neox = Tokenizer::load(*path);
    if (neox) all.push_back(&*neox);
  }
};

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.match_special = false});
}

Ids slice(const Sample& sample, int32_t begin, int32_t end) {
  return {sample.tokens.begin() + begin, sample.tokens.begin() + end};
}

// A segment's tokens up to where its middle begins, and the texts around the middle.
struct Cut {
  Ids tokens;
  std::string prefix, middle, suffix;
  Cut(const Tokenizer& tokenizer, const Sample& sample, const Segment& segment)
      : tokens(slice(sample, segment.range.begin, segment.middle.begin)),
        prefix(tokenizer.decode(slice(sample, segment.prefix.begin, segment.prefix.end))),
        middle(tokenizer.decode(slice(sample, segment.middle.begin, segment.middle.end))),
        suffix(tokenizer.decode(slice(sample, segment.suffix.begin, segment.suffix.end))) {}
};

// Whether `at` bytes of a text end inside one of its tokens.
bool inside_a_token(const Tokenizer& tokenizer, std::string_view text, size_t at) {
  size_t end = 0;
  for (const TokenId id : encode(tokenizer, text)) {
    if (end >= at) break;
    end += tokenizer.bytes_of(id).size();
  }
  return end != at;
}

FimConfig always(SegmentKind mode) {
  return {.rate = 1,
          .level = FimLevel::context,
          .unit = FimUnit::character,
          .psm = mode == SegmentKind::psm ? 1.0 : 0.0,
          .spm1 = mode == SegmentKind::spm1 ? 1.0 : 0.0,
          .spm2 = mode == SegmentKind::spm2 ? 1.0 : 0.0};
}

TEST(Cursor, PromptsAreTheTokensOfTraining) {
  const Tokenizers tokenizers;
  test::TemporaryDirectory dir;
  int set = 0;
  for (const Tokenizer* tokenizer : tokenizers.all) {
    int64_t all_cuts = 0, all_inside = 0;
    for (const auto& [name, text] : kTexts) {
      SCOPED_TRACE(name);
      std::vector<Ids> documents;
      for (uint64_t i = 0; i < 200; ++i) {
        documents.push_back(encode(*tokenizer, random_document(text, i)));
        documents.back().push_back(tokenizer->sentinels().eod);
      }
      const auto dataset =
          test::dataset_of(dir / fmt::format("set{}", set++), *tokenizer, documents);
      int64_t cuts = 0, inside = 0;
      for (const SegmentKind mode : kModes) {
        Config config;
        config.model.n_ctx = kContext;
        config.fim = always(mode);
        const auto stream = training_stream(config, *tokenizer, dataset);
        const int64_t n = (dataset->n_tokens() - 1) / kContext;
        Sample sample;
        for (int64_t i = 0; i < 3 * n; ++i) {  // three epochs
          stream->get(i, sample);
          for (const Segment& segment : sample.segments) {
            if (segment.kind != mode) continue;
            // What begins in the middle of a document is the next test's.
            if (segment.range.begin == 0) continue;
            const Cut cut(*tokenizer, sample, segment);
            // A character cut by the end of the context is no text.
            const std::string whole = cut.prefix + cut.middle + cut.suffix;
            if (encode(*tokenizer, whole).empty() ||
                tokenizer->decode(encode(*tokenizer, whole)) != whole)
              continue;
            ASSERT_EQ(
                infill_prompt(*tokenizer, cut.prefix, cut.suffix, kContext + 1, {.mode = mode})
                    .tokens,
                cut.tokens)
                << cut.prefix << "|" << cut.suffix;
            ++cuts;
            inside += inside_a_token(*tokenizer, whole, cut.prefix.size()) ||
                      inside_a_token(*tokenizer, whole, whole.size() - cut.suffix.size());
          }
        }
      }
      EXPECT_GT(cuts, 1000);
      EXPECT_GT(inside, cuts / 4) << cuts << " cuts";
      all_cuts += cuts;
      all_inside += inside;
    }
    EXPECT_GT(all_inside, all_cuts / 2) << all_cuts << " cuts";
  }
}

// Where a prompt is shortened at its left, its prefix is what training has in a context that begins
// there.
TEST(Cursor, PrefixesLoseWholeTokensAsContextsBegin) {
  const Tokenizers tokenizers;
  for (const Tokenizer* tokenizer : tokenizers.all) {
    for (const auto& [name, text] : kTexts) {
      SCOPED_TRACE(name);
      int64_t cuts = 0;
      for (uint64_t document = 0; document < 60; ++document) {
        const Ids ids = encode(
            *tokenizer, random_document(text, document) + random_document(text, 1000 + document));
        if (ids.size() < 10) continue;
        for (const SegmentKind mode : kModes) {
          const FimTransform transform(always(mode), *tokenizer);
          for (uint64_t i = 0; i < 8; ++i) {
            Rng rng(5, Purpose::kTest, static_cast<uint64_t>(mode), document,
                    static_cast<uint32_t>(i));
            const auto from = static_cast<size_t>(1 + rng.below(ids.size() - 2));
            const auto context_begin = ids.begin() + static_cast<std::ptrdiff_t>(from);
            Ids context(context_begin, ids.end());
            context.resize(context.size() + 12, tokenizer->sentinels().eod);  // room to grow
            Sample sample;
            transform.apply(context, {1, Purpose::kTest, 0, i}, sample);
            if (sample.segments[0].kind != mode) continue;
            const Cut cut(*tokenizer, sample, sample.segments[0]);
            // All of the suffix is there: it is no more than half.
            const int32_t size = sample.segments[0].prefix.size();
            if (size == 0 || sample.segments[0].suffix.size() > size) continue;
            // The prompt drops as many tokens as stand before the context, unless the piece that
            // the context begins in is cut too, or has fewer tokens without what stands before it.
            const std::string before = tokenizer->decode(std::span(ids).first(from));
            const Ids prefix = encode(*tokenizer, before + cut.prefix);
            if (std::ssize(prefix) - size != static_cast<int64_t>(from)) continue;
            if (!std::equal(ids.begin(), context_begin, prefix.begin())) continue;
            // A context can begin inside a character, a prompt does not.
            if (!unicode::is_valid_utf8(cut.prefix)) continue;
            const InfillPrompt prompt =
                infill_prompt(*tokenizer, before + cut.prefix, cut.suffix,
                              static_cast<int64_t>(cut.tokens.size()), {.mode = mode});
            ASSERT_EQ(prompt.tokens, cut.tokens) << before << "^" << cut.prefix << "|";
            ++cuts;
          }
        }
      }
      EXPECT_GT(cuts, 100);
    }
  }
}

// What is left of either side is encoded as the text that it is, and no more is dropped than need
// be.
TEST(Cursor, ShortenedSidesAreEncodedAsTheirText) {
  const Tokenizers tokenizers;
  for (const Tokenizer* tokenizer : tokenizers.all) {
    for (const auto& [name, make] : kTexts) {
      SCOPED_TRACE(name);
      for (uint64_t document = 0; document < 60; ++document) {
        const std::string text = random_document(make, document);
        const Ids whole = encode(*tokenizer, text);
        for (int64_t room = 1; room < std::min<int64_t>(40, std::ssize(whole)); ++room) {
          for (const bool right : {false, true}) {
            const InfillPrompt prompt =
                infill_prompt(*tokenizer, right ? "" : text, right ? text : "", room + 3, {});
            ASSERT_LE(std::ssize(prompt.tokens), room + 3);
            const auto begin = prompt.tokens.begin() + (right ? 2 : 1);
            const Ids kept(begin, prompt.tokens.end() - (right ? 1 : 2));
            const std::string kept_text = tokenizer->decode(kept);
            EXPECT_EQ(kept, encode(*tokenizer, kept_text));
            const int64_t n =
                std::ssize(whole) - (right ? prompt.dropped_suffix : prompt.dropped_prefix);
            const auto own = static_cast<size_t>(n);
            EXPECT_EQ(kept_text, tokenizer->decode(right ? std::span(whole).first(own)
                                                         : std::span(whole).last(own)));
            EXPECT_LE(room - n, 4);
          }
        }
      }
    }
  }
}

struct CursorPlaces : testing::Test {
  static Ids prompt(std::string_view prefix, std::string_view suffix) {
    return infill_prompt(self_trained(), prefix, suffix, 1000, {}).tokens;
  }
  static Ids expected(std::string_view prefix, std::string_view suffix) {
    const Sentinels& s = self_trained().sentinels();
    Ids ids = {s.pre};
    for (const TokenId id : encode(self_trained(), prefix)) ids.push_back(id);
    ids.push_back(s.suf);
    for (const TokenId id : encode(self_trained(), suffix)) ids.push_back(id);
    ids.push_back(s.mid);
    return ids;
  }
};

TEST_F(CursorPlaces, AnyPlaceBetweenCharacters) {
  for (const auto& [prefix, suffix] : std::vector<std::pair<std::string, std::string>>{
           {"if x:\r", "\n    pass\r\n"},     // inside a line end
           {"def f():\n    ", "return 1\n"},  // behind an indentation
           {"def f():\n  ", "  return 1\n"},  // inside it
           {"don'", "t"},
           {"\u4e2d", "\u6587"}}) {
    EXPECT_EQ(prompt(prefix, suffix), expected(prefix, suffix));
    EXPECT_EQ(self_trained().decode(prompt(prefix, suffix)),
              "<|PRE|>" + prefix + "<|SUF|>" + suffix + "<|MID|>");
  }
}

TEST_F(CursorPlaces, EachSideIsNormalisedByItself) {
  // A letter and its mark are one character in training; apart, each stays on its side.
  EXPECT_EQ(self_trained().decode(prompt("caf"
                                         "e",
                                         "\u0301!")),
            "<|PRE|>cafe<|SUF|>\u0301!<|MID|>");
  EXPECT_EQ(self_trained().decode(prompt("cafe\u0301", "!")), "<|PRE|>caf\u00e9<|SUF|>!<|MID|>");
}

TEST_F(CursorPlaces, NotInsideACharacter) {
  EXPECT_EQ(test::error_of([] { prompt("\xe2\x82", "\xac!"); }),
            "infill: the prefix ends after 2 of the 3 bytes of a character, \"\u20ac\", whose rest "
            "begins the suffix; expected a cut between characters");
  for (size_t at = 1; at < 4; ++at)
    EXPECT_NE(test::error_of([&] {
                prompt(std::string("\U0001F600").substr(0, at),
                       std::string("\U0001F600").substr(at));
              }),
              "");
  // Bytes that are no UTF-8 on either side are replaced, as in the text of a document.
  EXPECT_EQ(prompt("caf\xe9", "caf\xe9"), expected("caf\uFFFD", "caf\uFFFD"));
  EXPECT_EQ(prompt("\xe2\x82", "\xe2\x82"), expected("\uFFFD", "\uFFFD"));
  EXPECT_EQ(prompt("a\xe2", "\x82"), expected("a\uFFFD", "\uFFFD"));
}

}  // namespace
}  // namespace midfill
