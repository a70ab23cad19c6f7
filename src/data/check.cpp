#include "src/data/check.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>

#include "kernels/common/check.h"
#include "src/data/input_file.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {

constexpr size_t kFirstPlaces = 5;
constexpr int kLaterTokens = 16;  // sentinels may join a vocabulary after the data are made
constexpr size_t kChunkBytes = size_t{1} << 20;

// An array of a file, one value after the other.
class Values {
 public:
  // `stored` by a type of ids: i32 and i64 are the index's own.
  Values(const InputFile& file, uint64_t offset, int64_t n, TokenType stored)
      : file_(file), offset_(offset), left_(n), stored_(stored) {}

  // As many as are at hand, at most `most`; none at the end.
  std::span<const int64_t> next(int64_t most) {
    if (at_ == values_.size() && left_ > 0) fill();
    const size_t n = std::min<size_t>(values_.size() - at_, static_cast<size_t>(most));
    at_ += n;
    return std::span(values_).subspan(at_ - n, n);
  }
  int64_t one() { return next(1).front(); }

 private:
  void fill() {
    with_type(stored_, [this]<typename T>(T) {
      bytes_.resize(static_cast<size_t>(
                        std::min<int64_t>(left_, static_cast<int64_t>(kChunkBytes / sizeof(T)))) *
                    sizeof(T));
      file_.read(offset_, bytes_);
      values_.resize(bytes_.size() / sizeof(T));
      for (size_t i = 0; i < values_.size(); ++i) {
        T value;
        std::memcpy(&value, bytes_.data() + i * sizeof(T), sizeof(T));
        values_[i] = static_cast<int64_t>(value);
      }
    });
    offset_ += bytes_.size();
    left_ -= static_cast<int64_t>(values_.size());
    at_ = 0;
  }

  const InputFile& file_;
  uint64_t offset_;
  int64_t left_;
  TokenType stored_;
  std::vector<std::byte> bytes_;
  std::vector<int64_t> values_;
  size_t at_ = 0;
};

class Check {
 public:
  Check(const std::string& prefix, const CheckOptions& options) : options_(options) {
    report_.prefix = prefix;
    vocab_size_ = options.tokenizer ? options.tokenizer->vocab_size() : 0;
    max_id_ = vocab_size_ > 0 ? vocab_size_ - 1 : std::numeric_limits<TokenId>::max();
    eod_ = options.tokenizer ? options.tokenizer->sentinels().eod : -1;
  }

  DatasetReport run() {
    idx_ = open(idx_path(report_.prefix), report_.idx_bytes);
    bin_ = open(bin_path(report_.prefix), report_.bin_bytes);
    const bool header = idx_ && check_header();
    if (header && bin_) report_.tokens = static_cast<int64_t>(bin_->size()) / bytes_of(*type());
    const bool tables = header && check_index_size() && check_sequences();
    const bool documents = tables && check_document_index();
    if (header && bin_) {
      if (documents && eod_ >= 0) {
        check_documents();
      } else {
        check_ids();
      }
    }
    if (!options_.tokenizer)
      note(
          "ids are not compared with a vocabulary, nor the ends of documents looked at: name the "
          "tokenizer with --tokenizer");
    else if (eod_ < 0)
      note("the tokenizer has no end-of-document token: the ends of documents are not looked at");
    else if (!documents)
      note("the ends of documents are not looked at, as the index does not say where they are");
    return std::move(report_);
  }

 private:
  const std::optional<TokenType>& type() const { return report_.type; }

  void problem(const std::string& kind, const std::string& what, const std::string& place,
               int64_t count = 1) {
    auto at = std::find_if(report_.problems.begin(), report_.problems.end(),
                           [&](const DatasetProblem& p) { return p.kind == kind; });
    if (at == report_.problems.end())
      at = report_.problems.insert(at, {.kind = kind, .what = what, .count = 0, .first = {}});
    at->count += count;
    if (at->first.size() < kFirstPlaces) at->first.push_back(place);
  }
  void note(const std::string& text) { report_.notes.push_back(text); }

  std::optional<InputFile> open(const std::string& path, uint64_t& bytes) {
    try {
      std::optional<InputFile> file(path);
      bytes = file->size();
      return file;
    } catch (const Error& error) {
      problem("file", "a file cannot be read", error.what());
      return std::nullopt;
    }
  }

  // False: nothing behind it means anything.
  bool check_header() {
    std::array<std::byte, kIndexHeaderBytes> header{};
    const size_t got = idx_->read_some(0, header);
    const auto bad = [&](const std::string& what) {
      problem("header", "the header of the index is wrong", what);
      return false;
    };
    const auto value = [&]<typename T>(size_t offset, T result) {
      std::memcpy(&result, header.data() + offset, sizeof result);
      return result;
    };
    const std::string_view magic(reinterpret_cast<const char*>(header.data()), kIndexMagic.size());
    if (got < header.size())
      return bad(fmt::format("{} bytes, expected {} or more", got, header.size()));
    if (magic.starts_with("TNTIDX"))
      return bad("the older TNTIDX format: convert it with the tool that wrote it");
    if (magic != kIndexMagic) return bad("does not start with MMIDIDX: no dataset index");
    if (const auto version = value(9, uint64_t()); version != kIndexVersion)
      return bad(fmt::format("byte 9: version {}, expected {}", version, kIndexVersion));
    const int code = value(17, uint8_t());
    if (!((code >= 1 && code <= 5) || code == 8))
      return bad(fmt::format("byte 17: type code {}, expected that of an integer: 1-5 or 8", code));
    report_.type = static_cast<TokenType>(code);
    if (vocab_size_ - 1 - kLaterTokens > largest_id(*type()))
      problem("type", "the type of the ids is too small for the vocabulary",
              fmt::format("byte 17: type code {} holds ids up to {}, the vocabulary has {}", code,
                          largest_id(*type()), vocab_size_));
    n_ = value(18, uint64_t());
    entries_ = value(26, uint64_t());
    return true;
  }

  bool check_index_size() {
    const uint64_t rest = idx_->size() - kIndexHeaderBytes;
    const bool good = n_ <= rest / 12 && entries_ <= rest / 8 && n_ * 12 + entries_ * 8 == rest;
    if (!good) {
      problem("index_size", "the length of the index is not what its counts take",
              fmt::format("{} bytes with {} sequences and {} document entries", idx_->size(), n_,
                          entries_));
      return false;
    }
    report_.sequences = static_cast<int64_t>(n_);
    return true;
  }

  Values sizes() const { return {*idx_, kIndexHeaderBytes, report_.sequences, TokenType::i32}; }

  bool check_sequences() {
    Values all = sizes();
    Values pointers(*idx_, kIndexHeaderBytes + 4 * n_, report_.sequences, TokenType::i64);
    int64_t expected = 0;
    bool good = true;
    for (int64_t i = 0; i < report_.sequences; ++i) {
      const int64_t size = all.one(), pointer = pointers.one();
      if (size < 0) {
        problem("sizes", "sizes below 0", fmt::format("sequence {}: {}", i, size));
        good = false;
      }
      if (pointer != expected) {
        problem("pointers", "sequences that do not begin where the sizes before them end",
                fmt::format("sequence {}: byte {}, expected {}", i, pointer, expected));
        good = false;
      }
      expected += std::max<int64_t>(size, 0) * bytes_of(*type());
    }
    if (bin_ && bin_->size() != static_cast<uint64_t>(expected)) {
      problem("bin_size", "the length of the .bin file is not what the sizes take",
              fmt::format("{} bytes, expected {}", bin_->size(), expected));
      good = false;
    }
    return good;
  }

  Values document_index() const {
    return {*idx_, kIndexHeaderBytes + 12 * n_, static_cast<int64_t>(entries_), TokenType::i64};
  }

  bool check_document_index() {
    if (entries_ == 0) {
      problem("document_index", "the document index is wrong", "empty, expected at least a 0");
      return false;
    }
    Values index = document_index();
    int64_t before = 0;
    for (int64_t d = 0; d < static_cast<int64_t>(entries_); ++d) {
      const int64_t first = index.one();
      const bool good = d == 0 ? first == 0 : first >= before && first <= report_.sequences;
      if (!good) {
        const int64_t last = d == 0 ? 0 : report_.sequences;
        problem("document_index", "the document index is wrong",
                fmt::format("entry {}: sequence {}, expected {} to {}", d, first, before, last));
        return false;
      }
      before = first;
    }
    report_.documents = static_cast<int64_t>(entries_) - 1 + report_.sequences - before;
    if (before < report_.sequences)
      note(fmt::format(
          "the document index ends at sequence {} of {}, as GPT-NeoX's merge_file_ leaves it: "
          "midfill takes "
          "each of the {} sequences behind as a document; `midfill data merge` of this dataset "
          "alone writes one with a whole index",
          before, report_.sequences, report_.sequences - before));
    return true;
  }

  // The next `n` tokens are within the vocabulary; returns how many are EOD.
  int64_t check_tokens(Values& tokens, int64_t n, int64_t& last) {
    int64_t eods = 0;
    while (n > 0) {
      const auto ids = tokens.next(n);
      bool good = true;
      for (const int64_t id : ids) {
        eods += id == eod_;
        good &= id >= 0 && id <= max_id_;
      }
      for (size_t i = 0; !good && i < ids.size(); ++i)
        if (ids[i] < 0 || ids[i] > max_id_)
          problem("ids", fmt::format("ids outside 0 to {}", max_id_),
                  fmt::format("token {}: {}", token_ + static_cast<int64_t>(i), ids[i]));
      token_ += static_cast<int64_t>(ids.size());
      n -= static_cast<int64_t>(ids.size());
      last = ids.back();
      if (options_.progress &&
          token_ / kProgress != (token_ - static_cast<int64_t>(ids.size())) / kProgress)
        options_.progress(static_cast<double>(token_) / static_cast<double>(report_.tokens));
    }
    return eods;
  }

  Values tokens() const { return {*bin_, 0, report_.tokens, *type()}; }

  void check_ids() {
    Values all = tokens();
    int64_t last = 0;
    check_tokens(all, report_.tokens, last);
  }

  void check_documents() {
    Values all = tokens(), lengths = sizes(), index = document_index();
    index.one();  // 0
    const std::string eod = one_line(options_.tokenizer->bytes_of(static_cast<TokenId>(eod_)));
    int64_t sequence = 0, only_eod = 0;
    for (int64_t d = 0; d < report_.documents; ++d) {
      const int64_t end = d < static_cast<int64_t>(entries_) - 1 ? index.one() : sequence + 1;
      int64_t size = 0;
      for (; sequence < end; ++sequence) size += lengths.one();
      const int64_t begin = token_;
      const auto complain = [&](const char* kind, const std::string& what) {
        problem(kind, what, fmt::format("document {}, tokens {} to {}", d, begin, begin + size));
      };
      int64_t last = -1;
      const int64_t eods = check_tokens(all, size, last);
      only_eod += size == 1 && eods == 1;
      if (size == 0) {
        complain("empty", "documents without any token");
      } else if (last != eod_) {
        complain("no_eod", fmt::format("documents that do not end in {}", eod));
      }
      if (eods > (last == eod_ ? 1 : 0))
        complain("inner_eod", fmt::format("documents with {} before their end", eod));
    }
    if (only_eod > 0) note(fmt::format("{} documents are nothing but {}", only_eod, eod));
  }

  static constexpr int64_t kProgress = 1 << 20;  // tokens

  const CheckOptions& options_;
  DatasetReport report_;
  int64_t vocab_size_, max_id_, eod_;
  std::optional<InputFile> idx_, bin_;
  uint64_t n_ = 0, entries_ = 0;  // as the header has them
  int64_t token_ = 0;             // the next
};

}  // namespace

DatasetReport check_dataset(const std::string& prefix, const CheckOptions& options) {
  return Check(prefix, options).run();
}

}  // namespace midfill
