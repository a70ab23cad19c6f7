#include "src/data/dataset_writer.h"

#include "kernels/common/rng.h"
#include "src/data/indexed_dataset.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::read_text;
using test::TemporaryDirectory;
using test::write_text;
using namespace std::string_literals;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::vector<TokenId> all(const IndexedDataset& data) {
  std::vector<TokenId> ids(static_cast<size_t>(data.n_tokens()));
  data.read(0, ids);
  return ids;
}

class DatasetWriter : public ::testing::Test {
 protected:
  TemporaryDirectory dir_;
};

TEST_F(DatasetWriter, WritesTheFormatTable) {
  IndexedDatasetWriter writer((dir_ / "w").string(), 50280);
  writer.add_document(std::vector<TokenId>{7, 8, 0});
  writer.add_document({});
  writer.add_document(std::vector<TokenId>{50279, 0});
  EXPECT_EQ(writer.n_tokens(), 5);
  EXPECT_EQ(writer.n_documents(), 3);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "w.bin"));
  writer.commit();
  EXPECT_EQ(read_text(dir_ / "w.bin"), "\x07\x00\x08\x00\x00\x00\x67\xc4\x00\x00"s);
  // Byte for byte from the table in docs/data-format.md.
  EXPECT_EQ(read_text(dir_ / "w.idx"),
            "MMIDIDX\0\0"s                       // magic
            "\1\0\0\0\0\0\0\0"s                  // version
            "\x08"s                              // u16
            "\3\0\0\0\0\0\0\0"s                  // sequences
            "\4\0\0\0\0\0\0\0"s                  // documents + 1
            "\3\0\0\0\0\0\0\0\2\0\0\0"s          // sizes
            "\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0"s  // pointers
            "\6\0\0\0\0\0\0\0"s                  //
            "\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"s  // documents
            "\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"s);
}

TEST_F(DatasetWriter, RoundTripOfBothWidths) {
  for (const int vocab : {65499, 65500, 2'000'000'000}) {
    const std::string prefix = (dir_ / std::to_string(vocab)).string();
    Rng rng(1, Purpose::kTest, 0, static_cast<uint64_t>(vocab));
    std::vector<TokenId> tokens;
    std::vector<size_t> begins;
    IndexedDatasetWriter writer(prefix, vocab);
    for (int d = 0; d < 300; ++d) {
      begins.push_back(tokens.size());
      const auto n = rng.below(400);
      for (uint64_t i = 0; i < n; ++i)
        tokens.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(vocab))));
      writer.add_document(std::span(tokens).subspan(begins.back()));
    }
    writer.commit();
    const auto data = IndexedDataset::open(prefix, vocab);
    EXPECT_EQ(data.token_type(), vocab < 65500 ? TokenType::u16 : TokenType::i32);
    ASSERT_EQ(data.n_documents(), 300);
    EXPECT_EQ(all(data), tokens);
    for (int64_t i = 0; i < 300; ++i)
      EXPECT_EQ(data.sequence_begin(i), static_cast<int64_t>(begins[static_cast<size_t>(i)]));
    EXPECT_EQ(IndexedDataset::open(prefix).n_tokens(), static_cast<int64_t>(tokens.size()));
  }
}

TEST_F(DatasetWriter, RefusesWhatItWouldDestroyOrCannotStore) {
  write_text(dir_ / "a.idx", "precious");
  EXPECT_SAYS(error_of([&] { IndexedDatasetWriter((dir_ / "a").string(), 10); }),
              "a.idx: already exists");
  write_text(dir_ / "b.bin", "precious");
  EXPECT_SAYS(error_of([&] { IndexedDatasetWriter((dir_ / "b").string(), 10); }),
              "b.bin: already exists");
  IndexedDatasetWriter writer((dir_ / "c").string(), 10);
  EXPECT_SAYS(error_of([&] {
                writer.add_document(std::vector<TokenId>{3, 10});
              }),
              "token 1 of document 0 is 10");
  EXPECT_SAYS(error_of([&] { writer.add_document(std::vector<TokenId>{-1}); }), "is -1");
}

TEST_F(DatasetWriter, BothFilesOrNone) {
  const auto entries = [&] {
    int n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir_.path())) ++n;
    return n;
  };
  { IndexedDatasetWriter((dir_ / "w").string(), 10).add_document(std::vector<TokenId>{1}); }
  EXPECT_EQ(entries(), 0);
  {
    // The index appears under another's hand between the start and the commit.
    IndexedDatasetWriter writer((dir_ / "w").string(), 10);
    writer.add_document(std::vector<TokenId>{1});
    write_text(dir_ / "w.idx", "other");
    EXPECT_SAYS(error_of([&] { writer.commit(); }), "w.idx: already exists");
  }
  EXPECT_EQ(entries(), 1);
  EXPECT_EQ(read_text(dir_ / "w.idx"), "other");
}

}  // namespace
}  // namespace midfill
