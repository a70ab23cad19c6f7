#include "src/data/check.h"

#include "kernels/common/check.h"
#include "src/data/indexed_dataset.h"
#include "tests/data/data_test_support.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::read_text;
using test::small_tokenizer;
using test::write_text;
using namespace std::string_literals;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

template <typename T>
std::string bytes_of(std::initializer_list<T> values) {
  std::string text;
  for (const T value : values) text.append(reinterpret_cast<const char*>(&value), sizeof value);
  return text;
}

struct Index {
  std::string magic = "MMIDIDX\0\0"s;
  uint64_t version = 1;
  uint8_t type = 8;
  std::vector<int32_t> sizes = {3, 1, 2};
  std::vector<int64_t> pointers = {0, 6, 8};
  std::vector<int64_t> documents = {0, 1, 2, 3};
  std::string tail = "";

  std::string text() const {
    std::string out = magic + bytes_of({version}) + bytes_of({type}) +
                      bytes_of<uint64_t>({sizes.size(), documents.size()});
    for (const auto v : sizes) out += bytes_of({v});
    for (const auto v : pointers) out += bytes_of({v});
    for (const auto v : documents) out += bytes_of({v});
    return out + tail;
  }
};

class CheckDataset : public ::testing::Test {
 protected:
  DatasetReport check(const Index& index,
                      const std::string& bin = bytes_of<uint16_t>({7, 8, 0, 0, 9, 0}),
                      const Tokenizer* tokenizer = &small_tokenizer()) {
    write_text(dir_ / "d.idx", index.text());
    write_text(dir_ / "d.bin", bin);
    auto report = check_dataset((dir_ / "d").string(), {.tokenizer = tokenizer});
    // Wrong is what the reader refuses, and more.
    try {
      IndexedDataset::open((dir_ / "d").string());
    } catch (const Error& error) {
      EXPECT_FALSE(report.ok()) << error.what();
    }
    EXPECT_EQ(read_text(dir_ / "d.idx"), index.text());
    return report;
  }
  // "kind count: first place; ..." of every problem.
  static std::string said(const DatasetReport& report) {
    std::string text;
    for (const auto& problem : report.problems) {
      text +=
          fmt::format("{} {}: {}\n", problem.kind, problem.count, fmt::join(problem.first, "; "));
      EXPECT_EQ(problem.first.size(), std::min<size_t>(5, static_cast<size_t>(problem.count)));
    }
    return text;
  }
  std::string problems(const Index& index,
                       const std::string& bin = bytes_of<uint16_t>({7, 8, 0, 0, 9, 0})) {
    return said(check(index, bin));
  }
  test::TemporaryDirectory dir_;
};

TEST_F(CheckDataset, AGoodOne) {
  const auto report = check({});
  EXPECT_EQ(said(report), "");
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.type, TokenType::u16);
  EXPECT_EQ(report.documents, 3);
  EXPECT_EQ(report.sequences, 3);
  EXPECT_EQ(report.tokens, 6);
  EXPECT_EQ(report.bin_bytes, 12u);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_SAYS(report.notes[0], "1 documents are nothing but <|endoftext|>");
  EXPECT_SAYS(check({}, bytes_of<uint16_t>({7, 8, 1, 5, 9, 2}), nullptr).notes[0],
              "name the tokenizer");
}

TEST_F(CheckDataset, WhatIsBuiltIsGood) {
  const auto documents = test::random_documents(small_tokenizer(), 1, 3000, 900);
  test::dataset_of((dir_ / "d").string(), small_tokenizer(), documents);
  const auto report = check_dataset((dir_ / "d").string(), {.tokenizer = &small_tokenizer()});
  EXPECT_EQ(said(report), "");
  EXPECT_EQ(report.documents, 3000);
  EXPECT_GT(report.tokens, 600'000);  // more than a chunk
}

TEST_F(CheckDataset, Headers) {
  EXPECT_SAYS(problems({.magic = "MMIDIDX\0\1"s}), "header 1: does not start with MMIDIDX");
  EXPECT_SAYS(problems({.magic = "TNTIDX\0\0\0"s}), "older TNTIDX");
  EXPECT_SAYS(problems({.version = 2}), "version 2, expected 1");
  EXPECT_SAYS(problems({.type = 6}), "type code 6");
  EXPECT_SAYS(problems({.tail = "x"}), "index_size 1: 103 bytes with 3 sequences and 4 document");
  write_text(dir_ / "d.idx", "MMIDIDX");
  const auto short_one = check_dataset((dir_ / "d").string(), {});
  EXPECT_SAYS(said(short_one), "header 1: 7 bytes, expected 34");
  std::filesystem::remove(dir_ / "d.bin");
  write_text(dir_ / "d.idx", Index().text());
  EXPECT_SAYS(said(check_dataset((dir_ / "d").string(), {})), "d.bin: cannot open");
  EXPECT_SAYS(said(check_dataset((dir_ / "none").string(), {})), "file 2: ");
}

TEST_F(CheckDataset, Geometry) {
  EXPECT_SAYS(problems({.sizes = {3, -1, 4}}), "sizes 1: sequence 1: -1");
  EXPECT_SAYS(problems({.pointers = {0, 5, 6}}),
              "pointers 2: sequence 1: byte 5, expected 6; sequence 2: byte 6, expected 8");
  EXPECT_SAYS(problems({}, "123456789"), "bin_size 1: 9 bytes, expected 12");
  EXPECT_SAYS(problems({}, std::string(14, '\0')), "bin_size 1: 14 bytes, expected 12");
  EXPECT_SAYS(problems({.documents = {1, 1, 2, 3}}), "document_index 1: entry 0: sequence 1");
  EXPECT_SAYS(problems({.documents = {0, 2, 1, 3}}), "entry 2: sequence 1, expected 2 to 3");
  EXPECT_SAYS(problems({.documents = {0, 1, 2, 4}}), "entry 3: sequence 4, expected 2 to 3");
  EXPECT_SAYS(problems({.documents = {}}), "document_index 1: empty");
  // The documents cannot be judged then, but the ids can.
  const auto report = check({.pointers = {0, 5, 6}}, bytes_of<uint16_t>({7, 8, 0, 60000, 9, 0}));
  EXPECT_SAYS(said(report), "ids 1: token 3: 60000");
  EXPECT_SAYS(report.notes[0], "the ends of documents are not looked at");
}

TEST_F(CheckDataset, Ids) {
  const int vocab = small_tokenizer().vocab_size();
  const auto past = static_cast<uint16_t>(vocab), last = static_cast<uint16_t>(vocab - 1);
  EXPECT_EQ(problems({}, bytes_of<uint16_t>({past, last, 0, 0, past, 0})),
            fmt::format("ids 2: token 0: {0}; token 4: {0}\n", vocab));
  const Index wide = {.type = 5, .pointers = {0, 24, 32}};
  EXPECT_EQ(problems(wide, bytes_of<int64_t>({-1, 8, 0, 0, int64_t{1} << 40, 0})),
            "ids 2: token 0: -1; token 4: 1099511627776\n");
  const auto report = check(wide, bytes_of<int64_t>({-1, 1 << 30, 0, 0, 3, 9}), nullptr);
  EXPECT_EQ(said(report), "ids 1: token 0: -1\n");
  Index narrow = {.type = 1, .pointers = {0, 3, 4}};
  EXPECT_SAYS(problems(narrow, "\7\10\0\0\11\0"s), "type 1: byte 17: type code 1 holds ids up to");
}

TEST_F(CheckDataset, EndsOfDocuments) {
  EXPECT_EQ(problems({}, bytes_of<uint16_t>({7, 0, 0, 0, 9, 5})),
            "inner_eod 1: document 0, tokens 0 to 3\nno_eod 1: document 2, tokens 4 to 6\n");
  EXPECT_EQ(
      problems({.sizes = {3, 0, 3}, .pointers = {0, 6, 6}}, bytes_of<uint16_t>({7, 8, 0, 4, 9, 0})),
      "empty 1: document 1, tokens 3 to 3\n");
  // Documents of several sequences end once.
  EXPECT_EQ(problems({.documents = {0, 2, 3}}, bytes_of<uint16_t>({7, 8, 9, 0, 9, 0})), "");
  EXPECT_EQ(problems({.documents = {0, 2, 3}}), "inner_eod 1: document 0, tokens 0 to 4\n");
  Index many = {.sizes = {}, .pointers = {}, .documents = {0}};
  std::string bin;
  for (int i = 0; i < 100; ++i) {
    many.sizes.push_back(1);
    many.pointers.push_back(2 * i);
    many.documents.push_back(i + 1);
    bin += bytes_of<uint16_t>({5});
  }
  EXPECT_SAYS(problems(many, bin), "no_eod 100: document 0");
}

TEST_F(CheckDataset, AnIndexThatAMergeDidNotExtend) {
  const auto report = check({.documents = {0, 1}});
  EXPECT_EQ(said(report), "");
  EXPECT_EQ(report.documents, 3);
  EXPECT_SAYS(report.notes[0], "ends at sequence 1 of 3, as GPT-NeoX's merge_file_ leaves it");
  EXPECT_SAYS(report.notes[0], "each of the 2 sequences behind as a document");
}

// Whatever bytes an index has: a report, never worse; and wrong where the reader refuses.
TEST_F(CheckDataset, DamagedAnywhere) {
  const std::string good = Index().text();
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int bit : {0, 7}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      write_text(dir_ / "d.idx", bad);
      write_text(dir_ / "d.bin", bytes_of<uint16_t>({7, 8, 0, 0, 9, 0}));
      const auto report = check_dataset((dir_ / "d").string(), {.tokenizer = &small_tokenizer()});
      bool readable = true;
      try {
        IndexedDataset::open((dir_ / "d").string());
      } catch (const Error&) {
        readable = false;
      }
      EXPECT_TRUE(readable || !report.ok()) << at << " " << bit;
      EXPECT_TRUE(!report.ok() || report.notes.size() > 0) << at << " " << bit;
    }
  }
  for (size_t size = 0; size < good.size(); ++size) {
    write_text(dir_ / "d.idx", good.substr(0, size));
    EXPECT_FALSE(check_dataset((dir_ / "d").string(), {}).ok()) << size;
  }
}

}  // namespace
}  // namespace midfill
