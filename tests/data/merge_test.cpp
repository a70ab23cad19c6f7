#include "src/data/merge.h"

#include <set>

#include "src/data/dataset_writer.h"
#include "src/data/indexed_dataset.h"
#include "tests/data/data_test_support.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::read_text;
using test::write_text;
using Documents = std::vector<std::vector<TokenId>>;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

class Merge : public ::testing::Test {
 protected:
  std::string prefix(const std::string& name) const { return (dir_ / name).string(); }
  // A dataset of another maker: any type, documents as its index says.
  std::string foreign(const std::string& name, TokenType type, const Documents& sequences,
                      const std::vector<int64_t>& documents) {
    std::string index(kIndexMagic), sizes, pointers, bin;
    put(index, kIndexVersion);
    put(index, static_cast<uint8_t>(type));
    put(index, static_cast<uint64_t>(sequences.size()));
    put(index, static_cast<uint64_t>(documents.size()));
    for (const auto& sequence : sequences) {
      put(sizes, static_cast<int32_t>(sequence.size()));
      put(pointers, static_cast<int64_t>(bin.size()));
      for (const TokenId id : sequence)
        with_type(type, [&]<typename T>(T) { put(bin, static_cast<T>(id)); });
    }
    index += sizes + pointers;
    for (const int64_t first : documents) put(index, first);
    write_text(idx_path(prefix(name)), index);
    write_text(bin_path(prefix(name)), bin);
    return prefix(name);
  }
  // The sequences of a dataset, and where its documents begin.
  static std::pair<Documents, std::vector<int64_t>> read(const std::string& prefix) {
    const auto data = IndexedDataset::open(prefix);
    Documents sequences;
    std::vector<int64_t> documents;
    for (int64_t i = 0; i < data.n_sequences(); ++i) {
      sequences.emplace_back(static_cast<size_t>(data.sequence_size(i)));
      data.read(data.sequence_begin(i), sequences.back());
    }
    for (int64_t d = 0; d <= data.n_documents(); ++d) documents.push_back(data.document(d));
    return {sequences, documents};
  }
  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path()))
      names.insert(entry.path().filename());
    return names;
  }
  test::TemporaryDirectory dir_;
};

TEST_F(Merge, IsTheDatasetOfAllDocuments) {
  // Byte for byte what a writer makes of the documents of both.
  auto all = test::random_documents(test::small_tokenizer(), 1, 500, 3000);
  const auto half = all.begin() + 200;
  test::dataset_of(prefix("a"), test::small_tokenizer(), {all.begin(), half});
  test::dataset_of(prefix("b"), test::small_tokenizer(), {half, all.end()});
  test::dataset_of(prefix("c"), test::small_tokenizer(), all);
  const auto sum = merge_datasets({.inputs = {prefix("a"), prefix("b")}, .out = prefix("m")});
  EXPECT_EQ(sum.documents, 500);
  EXPECT_EQ(sum.sequences, 500);
  EXPECT_EQ(sum.type, TokenType::u16);
  EXPECT_TRUE(read_text(bin_path(prefix("m"))) == read_text(bin_path(prefix("c"))));
  EXPECT_TRUE(read_text(idx_path(prefix("m"))) == read_text(idx_path(prefix("c"))));
}

TEST_F(Merge, AnyTypesAndDocumentsOfSeveralSequences) {
  const auto small = foreign("u8", TokenType::u8, {{1, 2}, {3}, {}}, {0, 2, 3});
  const auto large = foreign("i64", TokenType::i64, {{70'000, 0}, {4}}, {0, 0, 2});  // one is empty
  const auto short_index = foreign("i16", TokenType::i16, {{5}, {6}, {7, 8}}, {0, 1});
  const auto sum =
      merge_datasets({.inputs = {small, large, short_index, small}, .out = prefix("m")});
  EXPECT_EQ(sum.type, TokenType::i32);
  EXPECT_EQ(sum.documents, 9);
  const auto [sequences, documents] = read(prefix("m"));
  EXPECT_EQ(sequences,
            (Documents{{1, 2}, {3}, {}, {70'000, 0}, {4}, {5}, {6}, {7, 8}, {1, 2}, {3}, {}}));
  EXPECT_EQ(documents, (std::vector<int64_t>{0, 2, 3, 3, 5, 6, 7, 8, 10, 11}));
  EXPECT_EQ(merge_datasets({.inputs = {short_index, small}, .out = prefix("n")}).type,
            TokenType::u16);
}

TEST_F(Merge, EmptyDatasets) {
  const auto empty = foreign("e", TokenType::u16, {}, {0});
  EXPECT_EQ(merge_datasets({.inputs = {empty, empty}, .out = prefix("m")}).documents, 0);
  EXPECT_EQ(IndexedDataset::open(prefix("m")).n_tokens(), 0);
}

TEST_F(Merge, RefusalsLeaveNothing) {
  const auto good = foreign("a", TokenType::u16, {{1, 2}}, {0, 1});
  const auto negative = foreign("b", TokenType::i32, {{1, -2}}, {0, 1});
  const auto refused = [&](const std::vector<std::string>& inputs) {
    const auto before = files();
    const std::string text =
        error_of([&] { merge_datasets({.inputs = inputs, .out = prefix("m")}); });
    EXPECT_EQ(files(), before);
    return text;
  };
  EXPECT_SAYS(refused({good, prefix("absent")}), "absent.idx: cannot open");
  EXPECT_SAYS(refused({good, negative}), "b.bin: token 1 is -2");
  EXPECT_SAYS(refused({}), "no datasets");
  EXPECT_SAYS(error_of([&] {
                merge_datasets({.inputs = {good}, .out = prefix("m"), .stop = [] { return true; }});
              }),
              "interrupted; nothing was written");
  std::filesystem::resize_file(bin_path(good), 3);
  EXPECT_SAYS(refused({good}), "a.bin: 3 bytes, expected 4");
  for (const char* name : {"m.bin", "m.idx"}) {
    write_text(dir_ / name, "precious");
    EXPECT_SAYS(refused({negative}), std::string(name) + ": already exists");
    EXPECT_EQ(read_text(dir_ / name), "precious");
    std::filesystem::remove(dir_ / name);
  }
}

TEST_F(Merge, MoreThanAChunk) {
  Documents all;
  for (int i = 0; i < 300'000; ++i) all.push_back({i % 1000, 0});
  test::dataset_of(prefix("a"), test::small_tokenizer(), {all.begin(), all.begin() + 100});
  const auto many = foreign("b", TokenType::i32, all, {0, 300'000});
  double last = 0;
  merge_datasets({.inputs = {prefix("a"), many}, .out = prefix("m"), .progress = [&](double share) {
                    EXPECT_GE(share, last);
                    last = share;
                  }});
  EXPECT_EQ(last, 1);
  const Documents first(all.begin(), all.begin() + 100);
  all.insert(all.begin(), first.begin(), first.end());
  const auto [sequences, documents] = read(prefix("m"));
  EXPECT_TRUE(sequences == all);
  EXPECT_EQ(documents.size(), 102u);
  EXPECT_EQ(documents.back(), 300'100);
}

}  // namespace
}  // namespace midfill
