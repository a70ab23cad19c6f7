// A dataset: two bytes with the size of the .idx, one that chooses the vocabulary, then the .idx
// and the .bin. Where it opens, its tokens are those that a plain reading of the two files gives.
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::array<int, 4> kVocabularies{0, 100, 50280, 100000};
  fuzz::Input input(data, size);
  const size_t index_bytes = input.number(2);
  const int vocab_size = kVocabularies[input.byte() % kVocabularies.size()];
  fuzz::scratch_file("d.idx", input.take(index_bytes));
  const std::string_view bin = input.rest();
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
  return 0;
}
