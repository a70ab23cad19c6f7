#include "src/infer/examples.h"

#include <set>

#include "tests/data/data_test_support.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::small_tokenizer;

// Documents of numbered lines; every third line is too short to be taken.
std::vector<std::vector<TokenId>> documents_of(int count, const std::string& line) {
  std::vector<std::vector<TokenId>> documents;
  for (int d = 0; d < count; ++d) {
    std::string text;
    for (int i = 1; i <= 30; ++i)
      text += i % 3 == 0 ? "}\n" : "    " + line + std::to_string(100 * d + i) + "  \n";
    documents.push_back(small_tokenizer().encode(text, {.match_special = false}));
    documents.back().push_back(small_tokenizer().sentinels().eod);
  }
  return documents;
}

TEST(Examples, AreWholeLinesOfDifferentDocuments) {
  test::TemporaryDirectory dir;
  const auto documents = documents_of(20, "number = value_of ");
  const auto dataset = test::dataset_of((dir / "d").string(), small_tokenizer(), documents);
  const auto examples = held_out_examples(*dataset, small_tokenizer(), 3, 5);
  ASSERT_EQ(examples.size(), 5u);
  std::set<int64_t> seen;
  for (const Example& e : examples) {
    EXPECT_TRUE(seen.insert(e.document).second);
    auto tokens = documents[e.document];
    tokens.pop_back();
    EXPECT_EQ(e.prefix + e.middle + e.suffix, small_tokenizer().decode(tokens));
    EXPECT_EQ(e.middle, "number = value_of " + std::to_string(100 * e.document + e.line));
    EXPECT_TRUE(e.prefix.ends_with("    "));
    EXPECT_TRUE(e.suffix.starts_with("  \n"));
  }

  const auto again = held_out_examples(*dataset, small_tokenizer(), 3, 5);
  for (size_t i = 0; i < examples.size(); ++i) EXPECT_EQ(again[i].prefix, examples[i].prefix);
  EXPECT_NE(held_out_examples(*dataset, small_tokenizer(), 4, 5)[0].prefix, examples[0].prefix);
  EXPECT_LE(held_out_examples(*dataset, small_tokenizer(), 3, 50).size(), 20u);
}

TEST(Examples, DataWithoutALineToTakeOutIsRefused) {
  test::TemporaryDirectory dir;
  const std::string prefix = (dir / "d").string();
  const auto dataset = test::dataset_of(prefix, small_tokenizer(), documents_of(3, "x"));
  EXPECT_EQ(test::error_of([&] { held_out_examples(*dataset, small_tokenizer(), 1, 1); }),
            prefix + ": no document with a line to take out");
}

}  // namespace
}  // namespace midfill
