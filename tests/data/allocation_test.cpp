// A stream of samples allocates nothing once a thread has seen samples of the kind.
#include "tests/support/allocations.h"

#include "src/data/loader.h"
#include "src/data/sample_stream.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

TEST(Allocations, StreamsMakeNoneInTheSteadyState) {
  const test::TemporaryDirectory dir;
  const Tokenizer& tokenizer = test::small_tokenizer();
  const auto dataset = test::dataset_of((dir / "d").string(), tokenizer,
                                        test::random_documents(tokenizer, 11, 400, 900));
  Config config;
  config.model.n_ctx = 256;
  config.model.vocab_size = tokenizer.vocab_size();
  config.fim = {.rate = 0.9, .psm = 1, .spm1 = 1, .spm2 = 1};
  for (const FimLevel level : {FimLevel::context, FimLevel::document})
    for (const FimUnit unit : {FimUnit::character, FimUnit::line, FimUnit::token}) {
      config.fim.level = level;
      config.fim.unit = unit;
      const auto stream = training_stream(config, tokenizer, dataset);
      Sample sample;
      SampleBatch batch;
      const auto run = [&] {
        int64_t transformed = 0;
        for (int64_t i = 0; i < 300; ++i) {
          stream->get(i, sample);
          for (const Segment& segment : sample.segments)
            transformed += segment.kind != SegmentKind::ar;
          fill_batch(*stream, i, 2, batch);
        }
        return transformed;
      };
      for (int i = 0; i < 4; ++i) run();  // the same samples: every vector meets its largest
      const size_t before = test::allocations();
      EXPECT_GT(run(), 400);
      EXPECT_EQ(test::allocations() - before, 0u)
          << "level " << static_cast<int>(level) << ", unit " << static_cast<int>(unit);
    }
  const size_t before = test::allocations();
  Sample fresh;
  fresh.tokens.resize(1);
  EXPECT_EQ(test::allocations() - before, 1u) << "the test counts";
}

}  // namespace
}  // namespace midfill
