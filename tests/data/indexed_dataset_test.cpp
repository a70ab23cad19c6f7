#include "src/data/indexed_dataset.h"

#include <cstring>
#include <thread>

#include "kernels/common/rng.h"
#include "src/data/dataset_writer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::read_text;
using test::TemporaryDirectory;
using test::write_text;
using ::testing::Test;
using namespace std::string_literals;

template <typename T>
std::string bytes_of(std::initializer_list<T> values) {
  std::string text;
  for (const T value : values) text.append(reinterpret_cast<const char*>(&value), sizeof value);
  return text;
}

// An index from its table, each part free to be wrong.
struct Index {
  std::string magic = "MMIDIDX\0\0"s;
  uint64_t version = 1;
  uint8_t type = 8;
  std::vector<int32_t> sizes = {3, 0, 2};
  std::vector<int64_t> pointers = {0, 6, 6};
  std::vector<int64_t> documents = {0, 1, 2, 3};
  int64_t extra_sequences = 0, extra_documents = 0;  // claimed, not there
  std::string tail = "";

  std::string text() const {
    std::string out =
        magic + bytes_of({version}) + bytes_of({type}) +
        bytes_of<uint64_t>({sizes.size() + static_cast<uint64_t>(extra_sequences),
                            documents.size() + static_cast<uint64_t>(extra_documents)});
    for (const auto v : sizes) out += bytes_of({v});
    for (const auto v : pointers) out += bytes_of({v});
    for (const auto v : documents) out += bytes_of({v});
    return out + tail;
  }
};

class Dataset : public Test {
 protected:
  std::string write(const Index& index,
                    const std::string& bin = bytes_of<uint16_t>({7, 8, 0, 9, 0})) {
    write_text(dir_ / "d.idx", index.text());
    write_text(dir_ / "d.bin", bin);
    return (dir_ / "d").string();
  }
  std::string refusal(const Index& index) {
    return error_of([&] { IndexedDataset::open(write(index)); });
  }
  static std::vector<TokenId> all(const IndexedDataset& data) {
    std::vector<TokenId> ids(static_cast<size_t>(data.n_tokens()));
    data.read(0, ids);
    return ids;
  }
  TemporaryDirectory dir_;
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(Dataset, ReadsTheFormatTable) {
  const auto data = IndexedDataset::open(write({}));
  EXPECT_EQ(data.n_sequences(), 3);
  EXPECT_EQ(data.n_documents(), 3);
  EXPECT_EQ(data.n_tokens(), 5);
  EXPECT_EQ(data.sequence_size(1), 0);
  EXPECT_EQ(data.sequence_begin(2), 3);
  EXPECT_EQ(data.sequence_begin(3), 5);
  EXPECT_EQ(data.document(3), 3);
  EXPECT_EQ(all(data), (std::vector<TokenId>{7, 8, 0, 9, 0}));
  std::vector<TokenId> two(2);
  data.read(2, two);
  EXPECT_EQ(two, (std::vector<TokenId>{0, 9}));
  data.read(5, {});
}

TEST_F(Dataset, ReadsEveryIntegerType) {
  const auto ids_of = [&](uint8_t type, int64_t bytes, const std::string& bin) {
    return all(
        IndexedDataset::open(write({.type = type, .pointers = {0, 3 * bytes, 3 * bytes}}, bin)));
  };
  const std::vector<TokenId> expected = {7, 100, 0, 9, 0};
  EXPECT_EQ(ids_of(1, 1, bytes_of<uint8_t>({7, 100, 0, 9, 0})), expected);
  EXPECT_EQ(ids_of(2, 1, bytes_of<int8_t>({7, 100, 0, 9, 0})), expected);
  EXPECT_EQ(ids_of(3, 2, bytes_of<int16_t>({7, 100, 0, 9, 0})), expected);
  EXPECT_EQ(ids_of(4, 4, bytes_of<int32_t>({7, 100, 0, 9, 0})), expected);
  EXPECT_EQ(ids_of(5, 8, bytes_of<int64_t>({7, 100, 0, 9, 0})), expected);
  EXPECT_EQ(ids_of(8, 2, bytes_of<uint16_t>({7, 100, 0, 9, 0})), expected);
}

TEST_F(Dataset, DocumentsOfSeveralSequences) {
  const auto data = IndexedDataset::open(write({.documents = {0, 2, 3}}));
  EXPECT_EQ(data.n_documents(), 2);
  EXPECT_EQ(data.document(1), 2);
  EXPECT_EQ(data.document(2), 3);
}

TEST_F(Dataset, DocumentIndexThatAMergeDidNotExtend) {
  const auto only_first = IndexedDataset::open(write({.documents = {0}}));
  EXPECT_EQ(only_first.n_documents(), 3);
  EXPECT_EQ(only_first.document(2), 2);
  // One document of two sequences, then one that the index does not know.
  const auto data = IndexedDataset::open(write({.documents = {0, 2}}));
  EXPECT_EQ(data.n_documents(), 2);
  EXPECT_EQ(data.document(1), 2);
  EXPECT_EQ(data.document(2), 3);
}

TEST_F(Dataset, Empty) {
  const auto data =
      IndexedDataset::open(write({.sizes = {}, .pointers = {}, .documents = {0}}, ""));
  EXPECT_EQ(data.n_tokens(), 0);
  EXPECT_EQ(data.n_documents(), 0);
}

TEST_F(Dataset, RefusesABrokenIndex) {
  EXPECT_SAYS(refusal({.magic = "MMIDIDX\0\1"s}), "d.idx: does not start with MMIDIDX");
  EXPECT_SAYS(refusal({.magic = "TNTIDX\0\0"s}), "the older TNTIDX format");
  EXPECT_SAYS(refusal({.version = 2}), "version 2, expected 1");
  EXPECT_SAYS(refusal({.type = 6}), "type code 6");
  EXPECT_SAYS(refusal({.type = 7}), "type code 7");
  EXPECT_SAYS(refusal({.type = 0}), "type code 0");
  EXPECT_SAYS(refusal({.type = 255}), "type code 255");
  EXPECT_SAYS(refusal({.extra_sequences = 1}), "4 sequences");
  EXPECT_SAYS(refusal({.extra_sequences = -1}), "2 sequences");
  EXPECT_SAYS(refusal({.extra_sequences = INT64_MAX}), "take more");
  EXPECT_SAYS(refusal({.extra_documents = -5}), "take more");
  EXPECT_SAYS(refusal({.extra_documents = -4}), "empty document index");
  EXPECT_SAYS(refusal({.tail = "x"}), "103 bytes, but 3 sequences and 4 document entries take 102");
  EXPECT_SAYS(refusal({.sizes = {3, -1, 3}}), "sequence 1 has size -1");
  EXPECT_SAYS(refusal({.pointers = {0, 5, 6}}), "sequence 1 starts at byte 5");    // unaligned
  EXPECT_SAYS(refusal({.pointers = {0, 6, 4}}), "sequence 2 starts at byte 4");    // decreasing
  EXPECT_SAYS(refusal({.pointers = {0, 6, 60}}), "sequence 2 starts at byte 60");  // past the end
  EXPECT_SAYS(refusal({.pointers = {2, 6, 6}}), "sequence 0 starts at byte 2");
  EXPECT_SAYS(refusal({.pointers = {0, -6, 6}}), "starts at byte -6");
  EXPECT_SAYS(refusal({.documents = {1, 1, 2, 3}}), "document 0 starts at sequence 1");
  EXPECT_SAYS(refusal({.documents = {0, 2, 1, 3}}), "document 2 starts at sequence 1");
  EXPECT_SAYS(refusal({.documents = {0, 1, 2, 4}}), "document 3 starts at sequence 4");
  EXPECT_SAYS(refusal({.documents = {0, -1, 2, 3}}), "document 1 starts at sequence -1");
}

TEST_F(Dataset, RefusesAnIndexCutAnywhere) {
  const std::string whole = Index{}.text();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string prefix = write({});
    write_text(dir_ / "d.idx", whole.substr(0, size));
    EXPECT_SAYS(error_of([&] { IndexedDataset::open(prefix); }), "d.idx: ");
  }
}

TEST_F(Dataset, RefusesABinOfAnotherSize) {
  EXPECT_SAYS(error_of([&] { IndexedDataset::open(write({}, "123456789")); }),
              "d.bin: 9 bytes, expected 10: 5 tokens of 2");
  EXPECT_SAYS(error_of([&] { IndexedDataset::open(write({}, "12345678901")); }), "11 bytes");
  const std::string prefix = write({});
  std::filesystem::remove(dir_ / "d.bin");
  EXPECT_SAYS(error_of([&] { IndexedDataset::open(prefix); }), "d.bin: cannot open");
  std::filesystem::create_directory(dir_ / "d.bin");
  EXPECT_SAYS(error_of([&] { IndexedDataset::open(prefix); }), "found a directory");
  EXPECT_SAYS(error_of([&] { IndexedDataset::open((dir_ / "absent").string()); }),
              "absent.idx: cannot open");
}

TEST_F(Dataset, RefusesIdsOutsideTheVocabularyWhenRead) {
  const auto data = IndexedDataset::open(write({}), 9);
  std::vector<TokenId> ids(3);
  data.read(0, ids);
  EXPECT_SAYS(error_of([&] { data.read(1, ids); }),
              "d.bin: token 3 is 9, expected an id from 0 to 8");
  const std::string prefix = write({.type = 5, .pointers = {0, 24, 24}},
                                   bytes_of<int64_t>({7, int64_t{1} << 40, 0, -1, 0}));
  const auto wide = IndexedDataset::open(prefix);
  EXPECT_SAYS(error_of([&] { wide.read(0, ids); }), "token 1 is 1099511627776");
  EXPECT_SAYS(error_of([&] { wide.read(2, ids); }), "token 3 is -1");
}

TEST_F(Dataset, RefusesATypeTooSmallForTheVocabulary) {
  const std::string prefix = write({});
  EXPECT_EQ(IndexedDataset::open(prefix, 65536 + 3).n_tokens(), 5);  // sentinels came later
  EXPECT_SAYS(error_of([&] { IndexedDataset::open(prefix, 100'000); }),
              "type code 8 holds ids up to 65535, but the vocabulary has 100000");
}

TEST_F(Dataset, RefusesARangeOutside) {
  const auto data = IndexedDataset::open(write({}));
  std::vector<TokenId> ids(3);
  EXPECT_SAYS(error_of([&] { data.read(3, ids); }), "tokens 3 to 6 wanted, has 5");
  EXPECT_SAYS(error_of([&] { data.read(-1, ids); }), "tokens -1 to 2 wanted");
  EXPECT_SAYS(error_of([&] { data.read(INT64_MAX, {}); }), "wanted, has 5");
}

TEST_F(Dataset, AFileCutWhileInUseIsAnError) {
  const auto data = IndexedDataset::open(write({}));
  std::vector<TokenId> ids(2);
  data.read(3, ids);
  // Within its last page, where the map reads as zeros without any signal.
  std::filesystem::resize_file(dir_ / "d.bin", 4);
  for (const int64_t begin : {0, 3})
    EXPECT_SAYS(error_of([&] { data.read(begin, ids); }),
                "d.bin: ends at byte 4, expected 10 bytes; was it cut while in use?");
}

TEST_F(Dataset, PagesCutWhileInUseAreAnErrorInEveryThread) {
  const std::string prefix = (dir_ / "long").string();
  IndexedDatasetWriter writer(prefix, 300);
  writer.add_document(std::vector<TokenId>(100000, 7));
  writer.commit();
  const auto data = IndexedDataset::open(prefix);
  std::filesystem::resize_file(bin_path(prefix), 4096);
  std::vector<std::string> errors(4);
  std::vector<std::thread> threads;
  for (std::string& error : errors)
    threads.emplace_back([&] {
      std::vector<TokenId> ids(2049);
      for (int64_t begin = 50000; begin < 90000; begin += 1000)
        error = error_of([&] { data.read(begin, ids); });
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors)
    EXPECT_SAYS(error,
                "long.bin: ends at byte 4096, expected 200000 bytes; was it cut while in use?");
}

}  // namespace
}  // namespace midfill
