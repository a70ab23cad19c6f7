#include "src/tokenizer/bpe_trainer.h"

#include <gmock/gmock.h>

#include <map>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "src/io/json.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using ::testing::HasSubstr;

PieceCounts counts_of(std::string_view text, bool space_runs = true) {
  PieceCounts counts(space_runs);
  counts.add(text);
  return counts;
}

std::string around(const std::string& blanks) {
  return fmt::format("a{}b", blanks);
}

// Words of a small alphabet, so that ties and repeated letters abound.
std::string random_corpus(uint64_t sample, int words) {
  Rng rng(9, Purpose::kTest, 0, sample);
  std::string text;
  for (int i = 0; i < words; ++i) {
    for (uint64_t n = 1 + rng.below(9); n > 0; --n) text += static_cast<char>('a' + rng.below(3));
    text += ' ';
  }
  return text;
}

// The definition, from scratch in each round. Ids as in train_bpe without runs of spaces.
std::vector<std::string> naive_merges(const PieceCounts& counts, int n) {
  std::map<uint8_t, int> byte_ids;
  std::vector<std::string> tokens{"<|endoftext|>", "<|padding|>"};
  for (const uint8_t byte : byte_alphabet::bytes_in_order()) {
    byte_ids[byte] = static_cast<int>(tokens.size());
    tokens.push_back(byte_alphabet::symbols()[byte]);
  }
  std::vector<std::pair<std::vector<int>, int64_t>> rows;
  for (const auto& [piece, count] : counts.counts()) {
    rows.push_back({{}, count});
    for (const char c : piece) rows.back().first.push_back(byte_ids[static_cast<uint8_t>(c)]);
  }
  std::vector<std::string> merges;
  while (static_cast<int>(merges.size()) < n) {
    std::map<std::pair<int, int>, int64_t> pairs;
    for (const auto& [row, count] : rows)
      for (size_t i = 0; i + 1 < row.size(); ++i) pairs[{row[i], row[i + 1]}] += count;
    std::pair<int, int> best;
    int64_t most = 0;
    for (const auto& [pair, count] : pairs) {
      const std::string joined =
          tokens[static_cast<size_t>(pair.first)] + tokens[static_cast<size_t>(pair.second)];
      if (std::find(tokens.begin(), tokens.end(), joined) != tokens.end()) continue;
      if (count > most) {
        most = count;
        best = pair;
      }
    }
    if (most < 2) break;
    const auto& left = tokens[static_cast<size_t>(best.first)];
    const auto& right = tokens[static_cast<size_t>(best.second)];
    merges.push_back(left + " " + right);
    const int result = static_cast<int>(tokens.size());
    tokens.push_back(left + right);
    for (auto& [row, count] : rows) {
      std::vector<int> merged;
      for (size_t i = 0; i < row.size(); ++i) {
        if (i + 1 < row.size() && row[i] == best.first && row[i + 1] == best.second) {
          merged.push_back(result);
          ++i;
        } else {
          merged.push_back(row[i]);
        }
      }
      row = merged;
    }
  }
  return merges;
}

TEST(TrainBpe, MergesTheMostFrequentPair) {
  for (uint64_t sample = 0; sample < 25; ++sample) {
    const PieceCounts counts =
        counts_of(random_corpus(sample, 60 + 20 * static_cast<int>(sample)), false);
    const std::vector<std::string> expected = naive_merges(counts, 60);
    const int size = 2 + 256 + static_cast<int>(expected.size()) + 3;
    const Json json =
        parse_json(train_bpe(counts, {.vocab_size = size, .space_runs = false}), "trained");
    EXPECT_EQ(json["model"]["merges"].get<std::vector<std::string>>(), expected) << sample;
  }
}

TEST(TrainBpe, LaysOutTheIds) {
  const std::string json = train_bpe(counts_of(random_corpus(1, 500)), {.vocab_size = 300});
  const Tokenizer t = Tokenizer::from_json(json, "trained");
  EXPECT_EQ(t.to_json(), json) << "nothing is left to add";
  EXPECT_EQ(t.vocab_size(), 300);
  const Sentinels& s = t.sentinels();
  EXPECT_EQ(s.eod, 0);
  EXPECT_EQ(s.pad, 1);
  EXPECT_EQ(s.suf, 297);
  EXPECT_EQ(s.pre, 298);
  EXPECT_EQ(s.mid, 299);
  EXPECT_EQ(t.bytes_of(2), "!");
  EXPECT_EQ(t.bytes_of(274), std::string(24, ' '));
  EXPECT_EQ(t.bytes_of(296), "  ");
  EXPECT_TRUE(t.is_special(0) && t.is_special(1) && t.is_special(297));
  EXPECT_FALSE(t.is_special(2) || t.is_special(274) || t.is_special(-1) || t.is_special(300));
  EXPECT_EQ(t.encode("    "), std::vector<TokenId>{294});

  const Tokenizer plain = Tokenizer::from_json(
      train_bpe(counts_of(random_corpus(1, 500), false), {.vocab_size = 300, .space_runs = false}),
      "trained");
  EXPECT_EQ(plain.vocab_size(), 300);
  EXPECT_EQ(plain.sentinels().suf, 297);
  EXPECT_EQ(plain.encode("   ").size(), 3u);
}

TEST(TrainBpe, SaysWhenTheSizeDoesNotFit) {
  const PieceCounts counts = counts_of("abab abab");
  EXPECT_THAT(error_of([&] { train_bpe(counts, {.vocab_size = 283}); }), HasSubstr("at least 284"));
  EXPECT_THAT(error_of([&] { train_bpe(counts, {.vocab_size = 4096}); }), HasSubstr("too little"));
  EXPECT_NO_THROW(train_bpe(counts, {.vocab_size = 284}));
}

TEST(PieceCounts, LeavesOutWhatTheEncoderTakesOut) {
  using Counts = std::unordered_map<std::string, int64_t>;
  EXPECT_EQ(counts_of("a  b b").counts(), (Counts{{"a", 1}, {"b", 1}, {" b", 1}}));
  EXPECT_EQ(counts_of(around(std::string(25, ' '))).counts(), (Counts{{"a", 1}, {" b", 1}}));
  EXPECT_EQ(counts_of(around(std::string(26, ' '))).counts(), (Counts{{"a", 1}, {"b", 1}}));
  EXPECT_EQ(counts_of("a  b", false).counts(), (Counts{{"a", 1}, {" ", 1}, {" b", 1}}));
  EXPECT_EQ(counts_of("e\u0301 \xFF").counts(), (Counts{{"\u00E9", 1}, {" \uFFFD", 1}}));
  EXPECT_TRUE(counts_of(std::string(1025, 'a')).counts().empty());
  EXPECT_EQ(counts_of(std::string(1024, 'a')).counts().size(), 1u);
}

TEST(PieceCounts, MayBeCutAnywhereSafe) {
  std::string text;
  for (uint64_t i = 0; i < 400; ++i)
    text.append("line ")
        .append(std::to_string(i))
        .append(i % 3   ? ";\n"
                : i % 2 ? " \n\n"
                        : "\u00E9\n   e\u0301");
  const PieceCounts whole = counts_of(text);
  for (const size_t step : {1, 7, 100, 3000}) {
    PieceCounts parts(true);
    size_t begin = 0;
    for (size_t at = step; begin < text.size(); at += step) {
      const size_t end = PieceCounts::safe_cut(text, at);
      if (end <= begin) continue;
      parts.add(text.substr(begin, end - begin));
      begin = end;
    }
    EXPECT_TRUE(parts.counts() == whole.counts()) << step;
  }
  EXPECT_EQ(PieceCounts::safe_cut("abc", 1), 3u);
  EXPECT_EQ(PieceCounts::safe_cut("abc", 0), 0u);
  EXPECT_EQ(PieceCounts::safe_cut("a \nb\nc", 1), 4u);
}

}  // namespace
}  // namespace midfill
