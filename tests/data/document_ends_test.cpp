#include "src/data/document_ends.h"

#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using test::small_tokenizer;
using Documents = std::vector<std::vector<TokenId>>;

class DocumentEnds : public ::testing::Test {
 protected:
  int64_t looked_at(const Documents& documents) {
    const std::string prefix = (dir_ / std::to_string(made_++)).string();
    return looked_at_without_eod(*test::dataset_of(prefix, small_tokenizer(), documents), eod_);
  }
  const test::TemporaryDirectory dir_;
  const TokenId eod_ = small_tokenizer().sentinels().eod, other_ = test::byte_token('a');
  int made_ = 0;
};

TEST_F(DocumentEnds, FindsThem) {
  EXPECT_EQ(looked_at({{other_, eod_}}), 0);
  EXPECT_EQ(looked_at({{other_}, {other_, eod_}}), 0);
  EXPECT_EQ(looked_at({{other_, eod_, other_}}), 0) << "within a sequence";
  EXPECT_EQ(looked_at({{other_, other_}, {other_}}), 3);
  EXPECT_EQ(looked_at({{other_}, {}, {other_}}), 2);
}

TEST_F(DocumentEnds, LooksAtPartOfALargeDataset) {
  constexpr int64_t kFirst = 1 << 20;
  std::vector<TokenId> large(kFirst + 10, other_);
  EXPECT_EQ(looked_at({large}), kFirst + 1) << "the first, and the last";
  large[kFirst - 1] = eod_;
  EXPECT_EQ(looked_at({large}), 0);
  std::swap(large[kFirst - 1], large[kFirst]);
  EXPECT_EQ(looked_at({large}), kFirst + 1);
  std::swap(large[kFirst], large.back());
  EXPECT_EQ(looked_at({large}), 0);
  // 1,024 of 5,000 ends, among them the last.
  Documents many(5'000, {other_});
  EXPECT_EQ(looked_at(many), 5'000);
  many.back() = {eod_};
  EXPECT_EQ(looked_at(many), 0);
}

}  // namespace
}  // namespace midfill
