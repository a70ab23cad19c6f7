// A dataset: two bytes with the size of the .idx, one of choices, then the .idx and the .bin. Where
// it opens, its tokens are those that a plain reading of the two files gives, until the .bin is
// cut.
//
// Mutations seldom agree on sizes. So there are choices to mend them: 4 the counts in the header, 8
// the pointers, 16 the size of the .bin. The low two bits choose the vocabulary.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "src/data/indexed_dataset.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace midfill;

// Token `i` of the .bin file as a number.
template <typename T>
int64_t stored(std::string_view bin, int64_t i) {
  T value;
  std::memcpy(&value, bin.data() + i * static_cast<int64_t>(sizeof value), sizeof value);
  return static_cast<int64_t>(value);
}

int64_t stored_token(std::string_view bin, TokenType type, int64_t i) {
  switch (type) {
    case TokenType::u8:
      return stored<uint8_t>(bin, i);
    case TokenType::i8:
      return stored<int8_t>(bin, i);
    case TokenType::i16:
      return stored<int16_t>(bin, i);
    case TokenType::i32:
      return stored<int32_t>(bin, i);
    case TokenType::i64:
      return stored<int64_t>(bin, i);
    case TokenType::u16:
      break;
  }
  return stored<uint16_t>(bin, i);
}

template <typename T>
T load(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <typename T>
void store(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

struct Files {
  std::string idx, bin;

  void mend(uint8_t choices) {
    constexpr size_t kHeaderBytes = 34;
    if (idx.size() < kHeaderBytes) return;
    const size_t rest = idx.size() - kHeaderBytes;
    if (choices & 4) {  // as many documents as it says, at most, and sequences to fill the rest
      const uint64_t entries = std::min<uint64_t>(load<uint64_t>(idx, 26), rest / 8);
      const uint64_t sequences = (rest - 8 * entries) / 12;
      store(idx, 18, sequences);
      store(idx, 26, entries);
      idx.resize(kHeaderBytes + 12 * sequences + 8 * entries);
    }
    const uint64_t n = load<uint64_t>(idx, 18);
    if (n > rest / 12) return;
    constexpr std::array<uint8_t, 9> kTokenBytes{1, 1, 1, 2, 4, 8, 1, 1, 2};  // by type code
    const auto code = static_cast<uint8_t>(idx[17]);
    const int64_t token_bytes = code < kTokenBytes.size() ? kTokenBytes[code] : 1;
    int64_t tokens = 0;
    for (size_t i = 0; i < n; ++i) {
      if (choices & 8) store(idx, kHeaderBytes + 4 * n + 8 * i, tokens * token_bytes);
      tokens += load<int32_t>(idx, kHeaderBytes + 4 * i);
    }
    constexpr int64_t kMostTokens = 1000;
    if (choices & 16 && tokens >= 0 && tokens <= kMostTokens)
      bin.resize(static_cast<size_t>(tokens * token_bytes));
  }
};

void check_structure(const IndexedDataset& dataset) {
  int64_t tokens = 0;
  for (int64_t i = 0; i < dataset.n_sequences(); ++i) {
    fuzz::expect(dataset.sequence_begin(i) == tokens && dataset.sequence_size(i) >= 0,
                 "sequence {} begins at {}", i, dataset.sequence_begin(i));
    tokens += dataset.sequence_size(i);
  }
  fuzz::expect(tokens == dataset.n_tokens(), "{} tokens in sequences, {} in all", tokens,
               dataset.n_tokens());
  int64_t before = 0;
  for (int64_t d = 0; d <= dataset.n_documents(); ++d) {
    fuzz::expect(dataset.document(d) >= before, "document {} starts before {}", d, d - 1);
    before = dataset.document(d);
  }
  fuzz::expect(dataset.document(0) == 0 && before == dataset.n_sequences(),
               "the documents end at sequence {} of {}", before, dataset.n_sequences());
}

// Reads [begin, begin + n) and compares with the .bin file.
void check_range(const IndexedDataset& dataset, std::string_view bin, int64_t max_id, int64_t begin,
                 int64_t n) {
  bool expected = begin >= 0 && n <= dataset.n_tokens() && begin <= dataset.n_tokens() - n;
  for (int64_t i = begin; expected && i < begin + n; ++i) {
    const int64_t id = stored_token(bin, dataset.token_type(), i);
    expected = id >= 0 && id <= max_id;
  }
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  const bool read = fuzz::works([&] { dataset.read(begin, tokens); });
  fuzz::expect(read == expected, "tokens {} to {} are {}", begin, begin + n,
               read ? "read, expected an Error" : "refused");
  for (int64_t i = 0; read && i < n; ++i)
    fuzz::expect(
        tokens[static_cast<size_t>(i)] == stored_token(bin, dataset.token_type(), begin + i),
        "token {} is {}", begin + i, tokens[static_cast<size_t>(i)]);
}

// Where the .bin file shrinks, the tokens that it had cannot be read any more, and that is an
// Error.
void check_cut_while_open(const IndexedDataset& dataset, size_t bytes_left) {
  std::filesystem::resize_file(fuzz::scratch_path("d.bin"), bytes_left);
  std::vector<TokenId> tokens(static_cast<size_t>(dataset.n_tokens()));
  fuzz::expect(!fuzz::works([&] { dataset.read(0, tokens); }), "a file that was cut is read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::array<int, 4> kVocabularies{0, 100, 50280, 100000};
  fuzz::Input input(data, size);
  const size_t index_bytes = input.number(2);
  const uint8_t choices = input.byte();
  const int vocab_size = kVocabularies[choices % kVocabularies.size()];
  Files files;
  files.idx = input.take(index_bytes);
  files.bin = input.rest();
  files.mend(choices);
  const std::string& bin = files.bin;
  fuzz::scratch_file("d.idx", files.idx);
  fuzz::scratch_file("d.bin", bin);

  std::optional<IndexedDataset> dataset;
  const std::string prefix = fuzz::scratch_path("d");
  if (!fuzz::works([&] { dataset.emplace(IndexedDataset::open(prefix, vocab_size)); })) return 0;
  check_structure(*dataset);
  const int64_t max_id = vocab_size > 0 ? vocab_size - 1 : INT32_MAX, n = dataset->n_tokens();
  check_range(*dataset, bin, max_id, 0, n);
  check_range(*dataset, bin, max_id, n / 3, n / 2);
  check_range(*dataset, bin, max_id, n, 0);
  check_range(*dataset, bin, max_id, n, 1);
  check_range(*dataset, bin, max_id, -1, 1);
  if (n > 0) check_cut_while_open(*dataset, bin.size() / 2);
  return 0;
}
