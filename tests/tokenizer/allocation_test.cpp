// Encoding allocates nothing once a thread has seen texts of the kind.
#include <gtest/gtest.h>

#include <string>

#include "src/tokenizer/bpe_trainer.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/support/allocations.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

void expect_no_allocation(const Tokenizer& tokenizer) {
  std::string lines;
  for (int i = 0; i < 300; ++i)
    lines += "    def f" + std::to_string(i * 7919) + "(self, x):  # na\u00EFve \u4E2D\u6587\n";
  const std::string texts[] = {"x",
                               "hello",
                               "",
                               "  foo",
                               "caf\u00E9",
                               "a <|endoftext|> b",
                               std::string(30, ' '),
                               std::string(5000, 'a'),
                               std::string(9000, '\n'),
                               lines};
  for (const bool match_special : {false, true}) {
    std::vector<TokenId> ids;
    ids.reserve(size_t{1} << 17);
    const auto encode_all = [&] {
      ids.clear();
      for (const std::string& text : texts)
        tokenizer.encode_to(text, ids, {.match_special = match_special});
    };
    encode_all();
    const size_t before = test::allocations();
    encode_all();
    EXPECT_EQ(test::allocations() - before, 0u) << "match_special " << match_special;
  }
}

TEST(Allocation, NoneInTheSteadyState) {
  PieceCounts counts(true);
  counts.add(
      "def f(self, x): return self.x; the naive text of a small vocabulary, again and again");
  expect_no_allocation(Tokenizer::from_json(train_bpe(counts, {.vocab_size = 290}), "trained"));
  const auto neox = test::test_data("20B_tokenizer.json");
  if (!neox) GTEST_SKIP() << "MIDFILL_TEST_DATA has no 20B_tokenizer.json";
  expect_no_allocation(Tokenizer::load(*neox));
}

}  // namespace
}  // namespace midfill
