#include "src/data/fim.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include "src/tokenizer/bpe_trainer.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using test::small_tokenizer;
using Tokens = std::vector<TokenId>;

FimConfig config_of(double rate, FimUnit unit = FimUnit::character, double psm = 1, double spm1 = 0,
                    double spm2 = 0) {
  return {.rate = rate,
          .level = FimLevel::context,
          .unit = unit,
          .psm = psm,
          .spm1 = spm1,
          .spm2 = spm2};
}

FimKey key_of(uint64_t sample) {
  return {1234, Purpose::kFim, 0, sample};
}

Tokens part(const Sample& sample, TokenRange range) {
  return {sample.tokens.begin() + range.begin, sample.tokens.begin() + range.end};
}

std::string text_of(const Tokenizer& tokenizer, const Sample& sample, TokenRange range) {
  return tokenizer.decode(part(sample, range));
}

Tokens encode(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {.match_special = false});
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

bool ends_in_a_whole_character(const std::string& text) {
  for (size_t back = 1; back <= std::min<size_t>(4, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    return back == (byte >= 0xF0 ? 4u : byte >= 0xE0 ? 3u : byte >= 0xC0 ? 2u : 1u);
  }
  return text.empty();
}

// What the checks below count over many samples.
struct Totals {
  int samples = 0, segments = 0, transformed = 0, with_room = 0, reverted = 0, fragments = 0;
  int64_t padded = 0;
  std::array<int, kSegmentKinds> kinds{};
};

// Holds a transformed run of tokens against docs/fim.md, knowing nothing of how it was made.
void check(const Tokenizer& tokenizer, const FimConfig& config, const Tokens& in, const Sample& out,
           Totals& totals) {
  const Sentinels& ids = tokenizer.sentinels();
  ASSERT_EQ(out.tokens.size(), in.size());
  ASSERT_EQ(out.weights.size(), in.size());
  const auto size = static_cast<int32_t>(in.size());
  ++totals.samples;
  totals.padded += out.padded;
  totals.reverted += out.reverted;

  size_t at = 0;      // in the input
  int32_t next = 0;   // in the output
  int64_t spelt = 0;  // tokens of the input that the output stands for
  for (size_t s = 0; s < out.segments.size(); ++s) {
    const Segment& segment = out.segments[s];
    const bool last = s + 1 == out.segments.size();
    ASSERT_LT(at, in.size());
    const size_t text_end = std::find(in.begin() + at, in.end(), ids.eod) - in.begin();
    const Tokens text_tokens(in.begin() + at, in.begin() + text_end);
    const bool ends = text_end < in.size();
    const std::string text = tokenizer.decode(text_tokens);
    at = text_end + (ends ? 1 : 0);

    ASSERT_EQ(segment.range.begin, next);
    ASSERT_GT(segment.range.size(), 0);
    next = segment.range.end;
    ASSERT_LE(next, size - out.padded);
    const Tokens whole = part(out, segment.range), prefix = part(out, segment.prefix),
                 middle = part(out, segment.middle), suffix = part(out, segment.suffix);
    const std::string spelled =
        tokenizer.decode(prefix) + tokenizer.decode(middle) + tokenizer.decode(suffix);
    const bool transformed = segment.kind != SegmentKind::ar;
    if (!last) {
      ASSERT_EQ(spelled, text) << "segment " << s << " of " << out.segments.size();
      ASSERT_TRUE(ends);
    } else {
      ASSERT_EQ(spelled, text.substr(0, spelled.size()));
    }
    // How many of the input's tokens that is: always a whole number of them.
    size_t kept = 0, bytes = 0;
    while (bytes < spelled.size()) bytes += tokenizer.bytes_of(text_tokens[kept++]).size();
    ASSERT_EQ(bytes, spelled.size());
    const bool has_eod = whole.back() == ids.eod;
    spelt += static_cast<int64_t>(kept) + (has_eod && ends ? 1 : 0);

    ++totals.kinds[static_cast<size_t>(segment.kind)];
    ++totals.segments;
    totals.transformed += transformed;
    const auto room = static_cast<size_t>(size - segment.range.begin);
    if (!text.empty() && !continues_character(text[0]) && room > text_tokens.size() + 16)
      ++totals.with_room;
    switch (segment.kind) {
      case SegmentKind::ar:
        ASSERT_EQ(middle.size() + suffix.size(), 0u);
        ASSERT_EQ(prefix, Tokens(text_tokens.begin(), text_tokens.begin() + kept));
        ASSERT_EQ(whole, has_eod ? prefix + Tokens{ids.eod} : prefix);
        ASSERT_TRUE(!has_eod || (ends && kept == text_tokens.size()));
        ASSERT_TRUE(last || has_eod);
        break;
      case SegmentKind::psm:
        ASSERT_EQ(whole, Tokens{ids.pre} + prefix + Tokens{ids.suf} + suffix + Tokens{ids.mid} +
                             middle + Tokens{ids.eod});
        break;
      case SegmentKind::spm1:
        ASSERT_EQ(whole, Tokens{ids.suf} + suffix + Tokens{ids.pre} + prefix + Tokens{ids.mid} +
                             middle + Tokens{ids.eod});
        break;
      case SegmentKind::spm2:
        ASSERT_EQ(whole, (Tokens{ids.pre, ids.suf} + suffix + Tokens{ids.mid} + prefix + middle +
                          Tokens{ids.eod}));
        break;
    }
    if (transformed && config.unit != FimUnit::token) {
      // Each part is what its text alone encodes to, but for fragments of characters at the ends.
      size_t head = 0;
      while (head < prefix.size() && continues_character(tokenizer.bytes_of(prefix[head])[0]))
        ++head;
      const Tokens clean(prefix.begin() + head, prefix.end());
      totals.fragments += head > 0;
      ASSERT_EQ(clean, encode(tokenizer, tokenizer.decode(clean)));
      ASSERT_EQ(middle, encode(tokenizer, tokenizer.decode(middle)));
      if (ends_in_a_whole_character(tokenizer.decode(suffix)))
        ASSERT_EQ(suffix, encode(tokenizer, tokenizer.decode(suffix)));
      else
        ++totals.fragments;
    } else if (transformed) {
      ASSERT_EQ(prefix + middle + suffix, Tokens(text_tokens.begin(), text_tokens.begin() + kept));
    }
    if (transformed) {  // no cut inside a character
      const std::string m = tokenizer.decode(middle), e = tokenizer.decode(suffix);
      ASSERT_FALSE(!m.empty() && continues_character(m[0]));
      ASSERT_FALSE(!e.empty() && continues_character(e[0]));
    }
    if (transformed && config.unit == FimUnit::line) {
      const std::string p = tokenizer.decode(prefix), m = tokenizer.decode(middle);
      ASSERT_TRUE(p.empty() || p.back() == '\n' || continues_character(p[0]) ||
                  (m.empty() && (suffix.empty() || !ends_in_a_whole_character(spelled))));
    }
  }
  ASSERT_EQ(next, size - out.padded);
  ASSERT_EQ(out.dropped, size - spelt);
  for (int32_t i = 0; i < size; ++i) {
    const bool padding = i >= size - out.padded;
    if (padding) {
      ASSERT_EQ(out.tokens[i], ids.pad);
    }
    ASSERT_EQ(out.weights[i], padding ? 0.0f : 1.0f);
  }
}

// Text of one kind each: code, prose, CJK, white space.
std::string text_of_kind(uint64_t kind, Rng& rng, size_t bytes) {
  static const std::vector<std::vector<std::string>> kWords = {
      {"def ", "self.", "return ", "(", "):", "\n    ", "\n        ", "x", "_y1", " = ", "'s'",
       "\"\"\"", "0x1F", " != ", "[i]", "  # ", "\t", "}\n\n", "<|endoftext|>"},
      {"the ", "of ", "a ", "intuition ", "isn't ", "we'll ", "1984 ", "caf\u00e9 ", "\u2014", ", ",
       ". ", ".\n\n", "\u201c", "\u201d ", "(see ", ")", "O'Reilly's "},
      {"\u4e2d", "\u6587", "\u7684", "\u3002", "\uff0c", "\u65e5\u672c\u8a9e", "\u3092",
       "\u30c6\u30b9\u30c8", "\ud55c\uad6d\uc5b4", "\u3000", "A", "42", "\u300c", "\u300d", "\n"},
      {" ", "  ", "   ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "      ", "\n\n\n"}};
  const auto& words = kWords[kind % kWords.size()];
  std::string text;
  for (const size_t target = rng.below(bytes + 1); text.size() < target;)
    text += words[rng.below(words.size())];
  return text;
}

// Documents of the test below: random text, or where `kinds` of one kind each.
std::vector<Tokens> documents_of(const Tokenizer& tokenizer, bool kinds, uint64_t seed, int count) {
  if (!kinds) return test::random_documents(tokenizer, seed, count, 140);
  std::vector<Tokens> documents;
  for (int d = 0; d < count; ++d) {
    Rng rng(seed, Purpose::kTest, 1, static_cast<uint64_t>(d));
    documents.push_back(encode(tokenizer, text_of_kind(static_cast<uint64_t>(d), rng, 600)) +
                        Tokens{tokenizer.sentinels().eod});
  }
  return documents;
}

// MIDFILL_TEST_SCALE times as many documents as usual, for a long run.
int scaled(int count) {
  const char* scale = std::getenv("MIDFILL_TEST_SCALE");
  return scale ? count * std::max(1, std::atoi(scale)) : count;
}

void check_random_documents(const Tokenizer& tokenizer, int count, bool kinds = false) {
  constexpr int kAtOnce = 1000;
  count = scaled(count);
  Rng rng(99, Purpose::kTest);
  std::vector<std::pair<FimConfig, FimTransform>> transforms;
  for (const double rate : {1.0, 1.0, 0.5})
    for (const auto unit : {FimUnit::character, FimUnit::token, FimUnit::line}) {
      const FimConfig config = config_of(rate, unit, 1, 1, 1);
      transforms.emplace_back(config, FimTransform(config, tokenizer));
    }
  Totals totals;
  uint64_t sample_index = 0;
  int full_rate_expected = 0;
  for (int done = 0; done < count; done += kAtOnce) {
    Tokens stream;
    for (const Tokens& document :
         documents_of(tokenizer, kinds, static_cast<uint64_t>(done), kAtOnce))
      stream = std::move(stream) + document;
    for (size_t at = 0; at < stream.size();) {
      const size_t n = std::min<size_t>(stream.size() - at, 2 + rng.below(400));
      const Tokens in(stream.begin() + at, stream.begin() + at + n);
      at += n;
      const auto& [config, transform] = transforms[rng.below(transforms.size())];
      Sample out;
      transform.apply(in, key_of(sample_index), out);
      Totals one;
      check(tokenizer, config, in, out, one);
      if (testing::Test::HasFatalFailure())
        FAIL() << "sample " << sample_index << ", rate " << config.rate << ", unit "
               << static_cast<int>(config.unit);
      if (config.rate == 1.0) {
        // Every segment with text is transformed, but where the sample's end leaves no room.
        full_rate_expected += one.with_room;
        EXPECT_GE(one.transformed + one.reverted, one.with_room) << "sample " << sample_index;
      }
      totals.samples += one.samples;
      totals.segments += one.segments;
      totals.transformed += one.transformed;
      totals.fragments += one.fragments;
      totals.padded += one.padded;
      totals.reverted += one.reverted;
      for (int k = 0; k < kSegmentKinds; ++k) totals.kinds[k] += one.kinds[k];
      ++sample_index;
    }
  }
  // The test has seen what it is about.
  testing::Test::RecordProperty("cuts", 2 * totals.transformed);
  EXPECT_GT(full_rate_expected, count / 3);
  EXPECT_GT(totals.kinds[1], count / 10);
  EXPECT_GT(totals.kinds[2], count / 10);
  EXPECT_GT(totals.kinds[3], count / 10);
  EXPECT_TRUE(kinds || totals.fragments > 10);
  EXPECT_LT(static_cast<double>(totals.padded), 0.5 * totals.samples);
  EXPECT_EQ(totals.reverted, 0);
  testing::Test::RecordProperty("samples", totals.samples);
  testing::Test::RecordProperty("segments", totals.segments);
  testing::Test::RecordProperty("padded", std::to_string(totals.padded));
  testing::Test::RecordProperty("fragments", totals.fragments);
}

TEST(Fim, HoldsOver100kRandomDocuments) {
  check_random_documents(small_tokenizer(), 100000);
}

TEST(Fim, HoldsOverRandomDocumentsWithThe20BTokenizer) {
  const auto path = test::test_data("20B_tokenizer.json");
  if (!path) GTEST_SKIP() << "needs MIDFILL_TEST_DATA";
  check_random_documents(Tokenizer::load(*path), 10000);
  check_random_documents(Tokenizer::load(*path), 5000, true);
}

TEST(Fim, HoldsOverEveryKindOfTextWithTrainedTokenizers) {
  for (const bool space_runs : {true, false}) {
    PieceCounts counts(space_runs);
    for (uint64_t d = 0; d < 2000; ++d) {
      Rng rng(4, Purpose::kTest, 2, d);
      counts.add(text_of_kind(d, rng, 600));
    }
    const std::string json = train_bpe(counts, {.vocab_size = 500, .space_runs = space_runs});
    const Tokenizer tokenizer = Tokenizer::from_json(json, "trained");
    ASSERT_TRUE(tokenizer.has_local_pieces());
    check_random_documents(tokenizer, 10000, true);
  }
}

// One document of known text with so much after it that nothing of it is dropped.
struct Roomy {
  explicit Roomy(const std::string& text, const Tokenizer& tokenizer = small_tokenizer())
      : document(encode(tokenizer, text)) {
    in = document + Tokens{tokenizer.sentinels().eod} + encode(tokenizer, std::string(60, 'z'));
  }
  Tokens document, in;
};

TEST(Fim, CutsAreUniformOverCodePointPairs) {
  const std::string text = "a\u4e2d\U0001F600 b\n\u00e9(x";  // nine code points
  const std::vector<size_t> offsets = {0, 1, 4, 8, 9, 10, 11, 13, 14, 15};
  const FimTransform transform(config_of(1.0), small_tokenizer());
  const Roomy roomy(text);
  std::map<std::pair<size_t, size_t>, int> count;
  constexpr int kDraws = 40000;
  Sample out;
  for (int i = 0; i < kDraws; ++i) {
    transform.apply(roomy.in, key_of(static_cast<uint64_t>(i)), out);
    const std::string p = text_of(small_tokenizer(), out, out.segments[0].prefix),
                      m = text_of(small_tokenizer(), out, out.segments[0].middle);
    ++count[{p.size(), p.size() + m.size()}];
  }
  double chi_square = 0;
  int cells = 0, seen = 0;
  for (size_t a = 0; a < offsets.size(); ++a)
    for (size_t b = a; b < offsets.size(); ++b) {
      const double expected = kDraws * (a == b ? 1.0 : 2.0) / 100.0;
      const int found = count[{offsets[a], offsets[b]}];
      chi_square += (found - expected) * (found - expected) / expected;
      seen += found;
      ++cells;
    }
  EXPECT_EQ(seen, kDraws) << "a cut fell between code points";
  EXPECT_EQ(cells, 55);
  EXPECT_LT(chi_square, 91.9);  // 54 degrees of freedom, p = 0.001
}

void expect_uniform(const std::map<size_t, int>& count, const std::vector<size_t>& places,
                    int draws) {
  double chi_square = 0;
  int seen = 0;
  for (const size_t place : places) {
    const double expected = static_cast<double>(draws) / static_cast<double>(places.size());
    const auto found = count.find(place);
    const int times = found == count.end() ? 0 : found->second;
    chi_square += (times - expected) * (times - expected) / expected;
    seen += times;
  }
  EXPECT_EQ(seen, draws) << "a cut fell elsewhere";
  const auto freedom = static_cast<double>(places.size() - 1);
  EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom));
}

TEST(Fim, LineCutsAreUniformOverLineStartsAndTheEnd) {
  for (const auto& [text, places] :
       {std::pair<std::string, std::vector<size_t>>{"ab\n\n  c\nlast", {0, 3, 4, 8, 12}},
        {"ab\ncd\n", {0, 3, 6}},
        {"one", {0, 3}},
        {"\n", {0, 1}}}) {
    const FimTransform transform(config_of(1.0, FimUnit::line), small_tokenizer());
    const Roomy roomy(text);
    std::map<size_t, int> count;
    Sample out;
    for (uint64_t i = 0; i < 5000; ++i) {
      transform.apply(roomy.in, key_of(i), out);
      const size_t p = text_of(small_tokenizer(), out, out.segments[0].prefix).size();
      ++count[p];
      ++count[p + text_of(small_tokenizer(), out, out.segments[0].middle).size()];
    }
    expect_uniform(count, places, 10000);
  }
}

TEST(Fim, TokenCutsAreUniformOverTokensAndKeepThem) {
  const FimTransform transform(config_of(1.0, FimUnit::token), small_tokenizer());
  const Roomy roomy("def the return(self.x)    in");
  std::map<size_t, int> count;
  std::vector<size_t> places;
  for (size_t i = 0; i <= roomy.document.size(); ++i) places.push_back(i);
  Sample out;
  for (uint64_t i = 0; i < 10000; ++i) {
    transform.apply(roomy.in, key_of(i), out);
    const Segment& s = out.segments[0];
    ASSERT_EQ(part(out, s.prefix) + part(out, s.middle) + part(out, s.suffix), roomy.document);
    ++count[s.prefix.size()];
    ++count[s.prefix.size() + s.middle.size()];
  }
  expect_uniform(count, places, 20000);
}

TEST(Fim, TransformsAtTheRateAndByTheWeights) {
  const Roomy roomy("some text of a few tokens");
  for (const double rate : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    const FimTransform transform(config_of(rate, FimUnit::character, 3, 2, 1), small_tokenizer());
    constexpr int kDraws = 20000;
    std::array<int, kSegmentKinds> kinds{};
    Sample out;
    for (uint64_t i = 0; i < kDraws; ++i) {
      transform.apply(roomy.in, key_of(i), out);
      ++kinds[static_cast<size_t>(out.segments[0].kind)];
    }
    const double shares[] = {1 - rate, rate * 3 / 6, rate * 2 / 6, rate * 1 / 6};
    for (int k = 0; k < kSegmentKinds; ++k) {
      const double p = shares[k], sigma = std::sqrt(kDraws * p * (1 - p));
      EXPECT_NEAR(kinds[k], kDraws * p, 4.5 * sigma + 1e-6) << "rate " << rate << ", kind " << k;
    }
  }
}

TEST(Fim, CutsDoNotDependOnTheMode) {
  const Roomy roomy("def foo(self):\n    return \u4e2d\u6587\n");
  const FimTransform psm(config_of(1.0, FimUnit::character, 1, 0, 0), small_tokenizer());
  const FimTransform spm1(config_of(1.0, FimUnit::character, 0, 1, 0), small_tokenizer());
  const FimTransform spm2(config_of(1.0, FimUnit::character, 0, 0, 1), small_tokenizer());
  for (uint64_t i = 0; i < 200; ++i) {
    Sample a, b, c;
    psm.apply(roomy.in, key_of(i), a);
    spm1.apply(roomy.in, key_of(i), b);
    spm2.apply(roomy.in, key_of(i), c);
    ASSERT_EQ(a.segments.size(), b.segments.size());
    for (size_t s = 0; s < a.segments.size(); ++s)
      for (const auto range : {&Segment::prefix, &Segment::middle, &Segment::suffix}) {
        ASSERT_EQ(part(a, a.segments[s].*range), part(b, b.segments[s].*range));
        ASSERT_EQ(part(a, a.segments[s].*range), part(c, c.segments[s].*range));
      }
  }
}

TEST(Fim, RateZeroChangesNothing) {
  Tokens in;
  for (const Tokens& document : test::random_documents(small_tokenizer(), 3, 20, 100))
    in = std::move(in) + document;
  Sample out;
  FimTransform(config_of(0.0), small_tokenizer()).apply(in, key_of(0), out);
  EXPECT_EQ(out.tokens, in);
  EXPECT_EQ(out.dropped + out.padded + out.reverted, 0);
}

TEST(Fim, LeavesTextThatDoesNotSurviveReencoding) {
  // A piece with two Hangul letters that encoding would compose to a syllable; other tools do write
  // such data.
  const std::string before = "plain ", piece = "x\u1100\u1161y", after = " text of other words";
  Tokens strange = encode(small_tokenizer(), before);
  for (const char byte : piece) strange.push_back(test::byte_token(byte));
  const Tokens in = encode(small_tokenizer(), "first") + Tokens{small_tokenizer().sentinels().eod} +
                    strange + Roomy(after).in;
  int reverted = 0, kept = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    Sample out;
    FimTransform(config_of(1.0), small_tokenizer()).apply(in, key_of(i), out);
    const Segment& s = out.segments[1];
    const std::string p = text_of(small_tokenizer(), out, s.prefix),
                      m = text_of(small_tokenizer(), out, s.middle),
                      e = text_of(small_tokenizer(), out, s.suffix);
    ASSERT_EQ(p + m + e, before + piece + after);
    ASSERT_EQ(out.reverted, s.kind == SegmentKind::ar ? 1 : 0);
    reverted += out.reverted;
    if (out.reverted > 0) continue;
    // Where no cut touches the piece it keeps its tokens; a cut between the letters saves it too.
    const size_t begin = before.size(), middle = begin + 4, end = begin + piece.size();
    for (const size_t cut : {p.size(), p.size() + m.size()})
      ASSERT_TRUE(cut < begin || cut == middle || cut >= end || p.size() == middle ||
                  p.size() + m.size() == middle)
          << cut;
    kept += p.size() >= end || (m.size() == 0 && p.size() < begin);
  }
  EXPECT_GT(reverted, 100);
  EXPECT_GT(kept, 100);
}

TEST(Fim, LeavesSegmentsThatHoldSpecialTokens) {
  const Sentinels& ids = small_tokenizer().sentinels();
  const Tokens strange = encode(small_tokenizer(), "abc") + Tokens{ids.pad} +
                         encode(small_tokenizer(), "def") + Tokens{ids.eod};
  const Tokens in = strange + encode(small_tokenizer(), "an ordinary ending");
  Sample out;
  FimTransform(config_of(1.0), small_tokenizer()).apply(in, key_of(0), out);
  EXPECT_EQ(out.segments[0].kind, SegmentKind::ar);
  EXPECT_EQ(part(out, out.segments[0].range), strange);
  EXPECT_EQ(out.reverted, 1);
  EXPECT_EQ(out.segments[1].kind, SegmentKind::psm);
  const auto pad = std::find(in.begin(), in.end(), ids.pad) - in.begin();
  EXPECT_EQ(out.weights[pad], 0.0f) << "padding in the data is not trained on";
}

TEST(Fim, ReportsIdsThatTheTokenizerLacks) {
  Sample out;
  const FimTransform transform(config_of(1.0), small_tokenizer());
  EXPECT_NE(test::error_of([&] {
              transform.apply(Tokens{5, 6, 99999}, key_of(0), out);
            }).find("99999"),
            std::string::npos);
}

TEST(Fim, RefusesImpossibleSettings) {
  EXPECT_NE(test::error_of([] { FimTransform(config_of(1.5), small_tokenizer()); }).find("1.5"),
            std::string::npos);
  EXPECT_NE(test::error_of([] {
              FimTransform(config_of(0.5, FimUnit::character, 0, 0, 0), small_tokenizer());
            }).find("fim.psm"),
            std::string::npos);
}

TEST(Fim, ServesTheSmallestSamples) {
  const FimTransform transform(config_of(1.0), small_tokenizer());
  for (size_t n = 1; n <= 12; ++n)
    for (uint64_t i = 0; i < 20; ++i) {
      const Tokens in = encode(small_tokenizer(), std::string(n, 'q'));
      Sample out;
      transform.apply(in, key_of(i), out);
      Totals totals;
      check(small_tokenizer(), config_of(1.0), in, out, totals);
      if (testing::Test::HasFatalFailure()) FAIL() << n << " tokens";
      if (n >= 8) {
        EXPECT_EQ(out.segments[0].kind, SegmentKind::psm);
      }
    }
}

// --- The defects of the reference implementations, one test each (docs/fim.md) -------------------

TEST(FimDefect, Defect01UnsortedCuts) {
  // Unsorted cuts leave half of the middles empty and let prefix and suffix overlap.
  const std::string text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
  const Roomy roomy(text);
  const FimTransform transform(config_of(1.0), small_tokenizer());
  int empty = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    Sample out;
    transform.apply(roomy.in, key_of(i), out);
    const Segment& s = out.segments[0];
    ASSERT_EQ(text_of(small_tokenizer(), out, s.prefix) +
                  text_of(small_tokenizer(), out, s.middle) +
                  text_of(small_tokenizer(), out, s.suffix),
              text);
    empty += s.middle.size() == 0;
  }
  EXPECT_LT(empty, 60);  // 1 in 53 is expected
}

TEST(FimDefect, Defect02SentinelCollidesWithText) {
  std::vector<const Tokenizer*> tokenizers = {&small_tokenizer()};
  std::unique_ptr<Tokenizer> large;
  if (const auto path = test::test_data("20B_tokenizer.json")) {
    large = std::make_unique<Tokenizer>(Tokenizer::load(*path));
    EXPECT_EQ(large->sentinels().suf, 50277);
    EXPECT_EQ(large->sentinels().pre, 50278);
    EXPECT_EQ(large->sentinels().mid, 50279);
    tokenizers.push_back(large.get());
  }
  for (const Tokenizer* tokenizer : tokenizers) {
    const Sentinels& ids = tokenizer->sentinels();
    std::string all = "<|SUF|><|PRE|><|MID|><|endoftext|><|padding|>";
    for (size_t n = 1; n <= 30; ++n) all += std::string(n, ' ') + "x" + std::string(n, '\n');
    for (const TokenId id : encode(*tokenizer, all))
      for (const TokenId mark : {ids.suf, ids.pre, ids.mid, ids.eod, ids.pad}) ASSERT_NE(id, mark);
    EXPECT_EQ((std::set<TokenId>{ids.suf, ids.pre, ids.mid, ids.eod}.size()), 4u);
  }
}

TEST(FimDefect, Defect03TailNeverTransformed) {
  const Tokens in = Roomy("a document").in;  // ends in a document without EOD
  Sample out;
  FimTransform(config_of(1.0), small_tokenizer()).apply(in, key_of(0), out);
  ASSERT_EQ(out.segments.size(), 2u);
  EXPECT_EQ(out.segments[1].kind, SegmentKind::psm);
  const Tokens alone(in.end() - 50, in.end());  // no EOD at all
  FimTransform(config_of(1.0), small_tokenizer()).apply(alone, key_of(1), out);
  ASSERT_EQ(out.segments.size(), 1u);
  EXPECT_EQ(out.segments[0].kind, SegmentKind::psm);
}

TEST(FimDefect, Defect04PaddingInsideAndTrainedOn) {
  const Sentinels& ids = small_tokenizer().sentinels();
  const FimTransform transform(config_of(1.0), small_tokenizer());
  int padded = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    Rng rng(5, Purpose::kTest, 0, i);
    const Tokens in = encode(small_tokenizer(), test::random_text(rng, 300));
    if (in.empty()) continue;
    Sample out;
    transform.apply(in, key_of(i), out);
    const auto first = std::find(out.tokens.begin(), out.tokens.end(), ids.pad);
    ASSERT_EQ(out.tokens.end() - first, out.padded);
    for (auto at = first; at != out.tokens.end(); ++at) {
      ASSERT_EQ(*at, ids.pad) << "padding inside the sample";
      ASSERT_EQ(out.weights[at - out.tokens.begin()], 0.0f);
      ++padded;
    }
  }
  EXPECT_GT(padded, 0) << "the test has seen padding";
}

TEST(FimDefect, Defect05EndingsOfDocumentsLost) {
  // Every document that lies wholly in the sample, but for the last, keeps its ending in its suffix
  // or middle.
  Tokens in;
  for (int d = 0; d < 8; ++d)
    in = in + encode(small_tokenizer(), "the body of a document, END" + std::to_string(d)) +
         Tokens{small_tokenizer().sentinels().eod};
  Sample out;
  FimTransform(config_of(1.0), small_tokenizer()).apply(in, key_of(0), out);
  ASSERT_GE(out.segments.size(), 6u);
  for (size_t s = 0; s + 1 < out.segments.size(); ++s) {
    const Segment& segment = out.segments[s];
    const std::string end = text_of(small_tokenizer(), out, segment.prefix) +
                            text_of(small_tokenizer(), out, segment.middle) +
                            text_of(small_tokenizer(), out, segment.suffix);
    EXPECT_TRUE(end.ends_with("END" + std::to_string(s))) << end;
  }
}

TEST(FimDefect, Defect06PrefixAndSuffixSwapped) {
  const Sentinels& ids = small_tokenizer().sentinels();
  const std::string text = "HEAD abcdefghijkl TAIL";
  const Roomy roomy(text);
  for (const auto& config :
       {config_of(1.0, FimUnit::character, 1, 0, 0), config_of(1.0, FimUnit::character, 0, 1, 0),
        config_of(1.0, FimUnit::character, 0, 0, 1)}) {
    const FimTransform transform(config, small_tokenizer());
    for (uint64_t i = 0; i < 100; ++i) {
      Sample out;
      transform.apply(roomy.in, key_of(i), out);
      // Read by sentinels alone, as an inference program would write it.
      const auto eod = std::find(out.tokens.begin(), out.tokens.end(), ids.eod);
      const auto suf = std::find(out.tokens.begin(), eod, ids.suf);
      const auto pre = std::find(out.tokens.begin(), eod, ids.pre);
      const auto mid = std::find(out.tokens.begin(), eod, ids.mid);
      const auto suffix_end = pre > suf ? pre : mid;
      const std::string suffix = small_tokenizer().decode(Tokens(suf + 1, suffix_end));
      ASSERT_TRUE(text.ends_with(suffix)) << suffix;
      if (config.spm2 == 0) {
        const std::string prefix = small_tokenizer().decode(Tokens(pre + 1, pre > suf ? mid : suf));
        ASSERT_TRUE(text.starts_with(prefix)) << prefix;
      }
    }
  }
}

TEST(FimDefect, Defect07CharactersSplitByTheContext) {
  const Tokens emoji = encode(small_tokenizer(), "\U0001F468 and \U0001F468");
  const FimTransform transform(config_of(1.0), small_tokenizer());
  int heads = 0, tails = 0;
  for (size_t begin = 0; begin < 4; ++begin)
    for (size_t end = emoji.size() - 3; end <= emoji.size(); ++end)
      for (uint64_t i = 0; i < 50; ++i) {
        const Tokens in = Tokens(emoji.begin() + begin, emoji.begin() + end) +
                          Tokens{small_tokenizer().sentinels().eod} +
                          encode(small_tokenizer(), std::string(40, 'x'));
        Sample out;
        transform.apply(in, key_of(i), out);
        Totals totals;
        check(small_tokenizer(), config_of(1.0), in, out, totals);
        if (testing::Test::HasFatalFailure()) FAIL() << begin << " to " << end;
        ASSERT_EQ(out.segments[0].kind, SegmentKind::psm);
        ASSERT_EQ(small_tokenizer().decode(out.tokens).find("\uFFFD"), std::string::npos);
        heads += begin > 0;
        tails += end < emoji.size();
      }
  EXPECT_GT(heads, 0);
  EXPECT_GT(tails, 0);
}

TEST(FimDefect, Defect09EmptySegmentsLoseTheirEod) {
  const TokenId eod = small_tokenizer().sentinels().eod;
  const FimTransform transform(config_of(1.0), small_tokenizer());
  Sample out;
  const Tokens empty = {eod, eod, eod};
  transform.apply(empty, key_of(0), out);
  EXPECT_EQ(out.tokens, empty);
  // A sample that ends exactly in EOD gets no bare sentinels after it.
  const Tokens in =
      Tokens{eod} + encode(small_tokenizer(), "x = 1234567890 and so on") + Tokens{eod};
  transform.apply(in, key_of(0), out);
  EXPECT_EQ(out.tokens[0], eod);
  ASSERT_EQ(out.segments.size(), 2u);
  EXPECT_EQ(out.segments[0].kind, SegmentKind::ar);
  EXPECT_EQ(out.segments[1].kind, SegmentKind::psm);
  EXPECT_GT(
      out.segments[1].prefix.size() + out.segments[1].middle.size() + out.segments[1].suffix.size(),
      0);
}

TEST(FimDefect, Defect11DocumentBoundariesAreKnown) {
  // Attention is not reset at document ends, as in the references; but every sample says where its
  // documents begin and end, which is all that a reset needs.
  Tokens in;
  for (const Tokens& document : test::random_documents(small_tokenizer(), 17, 30, 80))
    in = std::move(in) + document;
  Sample out;
  FimTransform(config_of(0.5), small_tokenizer()).apply(in, key_of(0), out);
  int32_t at = 0;
  for (const Segment& segment : out.segments) {
    EXPECT_EQ(segment.range.begin, at);
    at = segment.range.end;
    for (int32_t i = segment.range.begin; i + 1 < segment.range.end; ++i)
      EXPECT_NE(out.tokens[i], small_tokenizer().sentinels().eod);
  }
}

TEST(FimDefect, NoStopTokenWhereTheContextCutsADocument) {
  const Tokens in = encode(small_tokenizer(), std::string(300, 'k'));
  for (uint64_t i = 0; i < 50; ++i) {
    Sample out;
    FimTransform(config_of(1.0), small_tokenizer()).apply(in, key_of(i), out);
    const Segment& s = out.segments[0];
    EXPECT_EQ(out.tokens[s.middle.end], small_tokenizer().sentinels().eod);
    EXPECT_EQ(out.weights[s.middle.end], 1.0f);
  }
}

}  // namespace
}  // namespace midfill
