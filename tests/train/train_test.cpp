#include "src/train/train.h"

#include "src/train/report.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Resume, KeysThatMayChangeDoAndOthersAreRefused) {
  Config run, wanted;
  run.model.vocab_size = 300;  // resolved; the file that is given again says 0
  wanted.train.threads = 3;
  wanted.train.steps = 2000;
  std::vector<std::string> notes;
  const Config merged = merge_for_resume(run, wanted, 1, false, notes);
  EXPECT_EQ(merged.model.vocab_size, 300);
  EXPECT_EQ(merged.train.steps, 2000);
  EXPECT_EQ(notes, (std::vector<std::string>{"train.steps changes from 1000 to 2000",
                                             "train.threads changes from 0 to 3",
                                             "learning rate: 0.0001 at step 1, 0.0002 at step 2"}));
  EXPECT_EQ(merged.optim.warmup_steps, 10);
  wanted.optim.lr = 0.5;
  EXPECT_EQ(test::error_of([&] { merge_for_resume(run, wanted, 1, false, notes); }),
            "optim.lr is 0.001 in the run, 0.5 was asked for: this key cannot change at resume; "
            "start a new run");
}

TEST(Resume, AtStepZeroEverythingButTheModelMayChange) {
  Config run, wanted;
  wanted.optim.lr = 0.5;
  wanted.seed = 7;
  std::vector<std::string> notes;
  EXPECT_EQ(merge_for_resume(run, wanted, 0, false, notes).optim.lr, 0.5);
  EXPECT_EQ(notes.size(), 2u);
  wanted.model.n_layers = 7;
  EXPECT_EQ(
      test::error_of([&] { merge_for_resume(run, wanted, 0, false, notes); }),
      "model.n_layers is 6 in the run, 7 was asked for: this key cannot change at resume; start "
      "a new run");
}

TEST(Vocabulary, ComesFromTheTokenizerOrHoldsIt) {
  Config config;
  EXPECT_EQ(resolve_vocabulary(config, 300).model.vocab_size, 300);
  config.model.vocab_size = 400;
  EXPECT_EQ(resolve_vocabulary(config, 300).model.vocab_size, 400);
  config.model.vocab_size = 299;
  config.data.tokenizer = "t.json";
  EXPECT_EQ(test::error_of([&] { resolve_vocabulary(config, 300); }),
            "model.vocab_size is 299, expected at least the 300 ids of t.json (or 0)");
}

TEST(Memory, Fim13BFitsAnH100WithoutRecomputing) {
  const Config config =
      load_config(std::filesystem::path(MIDFILL_SOURCE_DIR) / "configs/fim-1.3b.json");
  EXPECT_EQ(config.train.dtype, DType::bf16);
  EXPECT_EQ(config.train.micro_batch, 8);
  EXPECT_EQ(config.model.n_ctx, 2048);
  EXPECT_EQ(config.train.recompute, Recompute::none);
  int64_t total = 0;
  for (const MemoryLine& line : Gpt::memory(config.model, training_options(config)))
    total += line.bytes;
  EXPECT_LT(total, 80'000'000'000);
  EXPECT_GT(total, 40'000'000'000);
}

TEST(Report, WarnsOfASourceWhoseDocumentsDoNotEnd) {
  Config config;
  config.fim.rate = 0.5;
  config.fim.level = FimLevel::context;
  SourceInfo whole{.name = "", .path = "data/code", .tokens = 1000, .samples = 10};
  const auto warnings = [&](const SourceInfo& source) {
    std::vector<std::string> found;
    for (const std::string& line : describe(std::vector<SourceInfo>{source}, config))
      if (line.starts_with("warning")) found.push_back(line);
    return found;
  };
  EXPECT_EQ(warnings(whole).size(), 0u);
  whole.without_eod = 1000;
  ASSERT_EQ(warnings(whole).size(), 1u);
  const auto says = [&](std::string_view part) {
    return warnings(whole)[0].find(part) != std::string::npos;
  };
  EXPECT_TRUE(says("data/code: no <|endoftext|> among the 1,000 tokens that were looked at"));
  EXPECT_TRUE(says("FIM takes each sample whole for one document"));
  config.fim.level = FimLevel::document;
  EXPECT_TRUE(says("FIM takes the documents that begin within the same 4 contexts for one"));
  config.fim.rate = 0;
  EXPECT_TRUE(says("where documents end; tokenise with --append-eod"));
}

}  // namespace
}  // namespace midfill
