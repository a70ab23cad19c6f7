#include "src/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "kernels/common/check.h"
#include "src/tokenizer/byte_alphabet.h"
#include "src/tokenizer/tokenizer_file.h"

namespace midfill {

namespace {

constexpr int kShortestRun = 2;
constexpr int64_t kMinCount = 2;
constexpr std::string_view kFirstTokens[] = {"<|endoftext|>", "<|padding|>"};
constexpr std::string_view kSentinels[] = {"<|SUF|>", "<|PRE|>", "<|MID|>"};

// The pieces as rows of symbols, and for every adjacent pair its count and the rows it occurs in,
// kept up to date as pairs are merged.
class PairTable {
 public:
  explicit PairTable(const PieceCounts& counts, const std::array<TokenId, 256>& byte_ids);

  struct Best {
    TokenId left, right;
    int64_t count;  // 0: no pair is left
  };
  // The most frequent pair; of equals the one with the smallest ids.
  Best best();
  // Takes a pair out of the choice for good.
  void ban(TokenId left, TokenId right) { pairs_.erase(pair_of(left, right)); }
  // `result` is a token that no row has yet, so counts of older pairs only fall.
  void merge(TokenId left, TokenId right, TokenId result);

 private:
  using Pair = uint64_t;
  struct Entry {
    int64_t count = 0;
    std::vector<uint32_t> rows;  // a superset; a row may stand twice
  };
  struct Row {
    uint32_t begin, size;
    int64_t count;
  };
  struct Candidate {
    int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {  // the heap's top is the largest
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };
  static Pair pair_of(TokenId left, TokenId right) {
    return static_cast<Pair>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  std::vector<TokenId> symbols_;
  std::vector<Row> rows_;
  std::unordered_map<Pair, Entry> pairs_;
  std::priority_queue<Candidate> heap_;  // counts may be out of date, but never too low
};

PairTable::PairTable(const PieceCounts& counts, const std::array<TokenId, 256>& byte_ids) {
  size_t total = 0;
  for (const auto& [piece, count] : counts.counts()) total += piece.size();
  require(total < UINT32_MAX, "{} bytes of distinct pieces, expected under 4 GiB", total);
  symbols_.reserve(total);
  rows_.reserve(counts.counts().size());
  for (const auto& [piece, count] : counts.counts()) {
    if (piece.size() < 2) continue;
    const auto row = static_cast<uint32_t>(rows_.size());
    rows_.push_back(
        {static_cast<uint32_t>(symbols_.size()), static_cast<uint32_t>(piece.size()), count});
    for (const char byte : piece) symbols_.push_back(byte_ids[static_cast<unsigned char>(byte)]);
    const TokenId* s = symbols_.data() + rows_.back().begin;
    for (size_t i = 0; i + 1 < piece.size(); ++i) {
      Entry& entry = pairs_[pair_of(s[i], s[i + 1])];
      entry.count += count;
      if (entry.rows.empty() || entry.rows.back() != row) entry.rows.push_back(row);
    }
  }
  for (const auto& [pair, entry] : pairs_) heap_.push({entry.count, pair});
}

PairTable::Best PairTable::best() {
  while (!heap_.empty()) {
    const Candidate top = heap_.top();
    const auto entry = pairs_.find(top.pair);
    const int64_t count = entry == pairs_.end() ? 0 : entry->second.count;
    if (count == top.count && count > 0)
      return {static_cast<TokenId>(top.pair >> 32), static_cast<TokenId>(top.pair), count};
    heap_.pop();
    if (count > 0) heap_.push({count, top.pair});
  }
  return {-1, -1, 0};
}

void PairTable::merge(TokenId left, TokenId right, TokenId result) {
  std::vector<uint32_t> touched = std::move(pairs_.at(pair_of(left, right)).rows);
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  std::unordered_map<Pair, Entry> born;  // pairs with the new token

  for (const uint32_t index : touched) {
    Row& row = rows_[index];
    TokenId* const s = symbols_.data() + row.begin;
    const auto gone = [&](TokenId a, TokenId b) { pairs_[pair_of(a, b)].count -= row.count; };
    const auto came = [&](TokenId a, TokenId b) {
      Entry& entry = born[pair_of(a, b)];
      entry.count += row.count;
      if (entry.rows.empty() || entry.rows.back() != index) entry.rows.push_back(index);
    };
    uint32_t kept = 0;
    for (uint32_t i = 0; i < row.size; ++i) {
      if (s[i] != left || i + 1 == row.size || s[i + 1] != right) {
        s[kept++] = s[i];
        continue;
      }
      // ... before, left, right, after ... -> ... before, result, after ...
      gone(left, right);
      if (kept > 0) {
        // Where `before` is itself a new result, its pair with `left` was counted as one that came.
        const TokenId before = s[kept - 1];
        if (before == result) {
          born[pair_of(result, left)].count -= row.count;
        } else {
          gone(before, left);
        }
        came(before, result);
      }
      if (i + 2 < row.size) {
        gone(right, s[i + 2]);
        came(result, s[i + 2]);
      }
      s[kept++] = result;
      ++i;
    }
    row.size = kept;
  }
  pairs_.erase(pair_of(left, right));
  for (auto& [pair, entry] : born) {
    if (entry.count <= 0) continue;
    heap_.push({entry.count, pair});
    pairs_[pair] = std::move(entry);
  }
}

AddedToken special_token(TokenId id, std::string_view content) {
  return {.id = id, .content = std::string(content), .special = true};
}

}  // namespace

std::string train_bpe(const PieceCounts& counts, const BpeTrainerOptions& options) {
  std::vector<std::string> vocabulary, bytes;  // by id: spelt, and the bytes meant
  const auto add_token = [&](std::string token_bytes) {
    vocabulary.push_back(byte_alphabet::from_bytes(token_bytes));
    bytes.push_back(std::move(token_bytes));
  };
  std::vector<AddedToken> added;
  for (const std::string_view token : kFirstTokens) {
    added.push_back(special_token(static_cast<TokenId>(vocabulary.size()), token));
    add_token(std::string(token));
  }
  std::array<TokenId, 256> byte_ids;
  for (const uint8_t byte : byte_alphabet::bytes_in_order()) {
    byte_ids[byte] = static_cast<TokenId>(vocabulary.size());
    add_token(std::string(1, static_cast<char>(byte)));
  }
  const int runs = options.space_runs ? kLongestSpaceRun - kShortestRun + 1 : 0;
  const int last = runs + static_cast<int>(std::size(kSentinels));
  const int fixed = static_cast<int>(vocabulary.size()) + last;
  require(options.vocab_size >= fixed,
          "vocabulary size {}: expected at least {}, for the bytes, special tokens{} and sentinels",
          options.vocab_size, fixed, runs > 0 ? ", runs of spaces" : "");

  PairTable pairs(counts, byte_ids);
  std::vector<Merge> merges;
  std::unordered_set<std::string> known(bytes.begin(), bytes.end());
  while (static_cast<int>(vocabulary.size()) + last < options.vocab_size) {
    const auto [left, right, count] = pairs.best();
    require(count >= kMinCount,
            "vocabulary size {}: the text is too little to learn more than {} ids; add text or "
            "lower the size",
            options.vocab_size, vocabulary.size() + static_cast<size_t>(last));
    const auto result = static_cast<TokenId>(vocabulary.size());
    if (!known.insert(bytes[static_cast<size_t>(left)] + bytes[static_cast<size_t>(right)])
             .second) {
      pairs.ban(left, right);
      continue;
    }
    add_token(bytes[static_cast<size_t>(left)] + bytes[static_cast<size_t>(right)]);
    merges.push_back({left, right, result});
    pairs.merge(left, right, result);
  }

  auto id = static_cast<TokenId>(vocabulary.size());
  for (int run = kLongestSpaceRun; runs > 0 && run >= kShortestRun; --run)
    added.push_back(
        {.id = id++, .content = std::string(static_cast<size_t>(run), ' '), .normalized = true});
  for (const std::string_view token : kSentinels) added.push_back(special_token(id++, token));
  return write_tokenizer_file(vocabulary, merges, added);
}

}  // namespace midfill
