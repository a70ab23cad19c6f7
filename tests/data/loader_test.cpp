#include "src/data/loader.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "kernels/common/check.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

// Sample i holds recognisable tokens and takes a time that puts threads out of order.
class FakeStream final : public SampleStream {
 public:
  int64_t size() const override { return INT64_MAX; }
  int n_ctx() const override { return 4; }
  void get(int64_t index, Sample& sample) const override {
    ++calls;
    if (index % 7 == 3) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (index == fails_at) fail("sample {} is broken", index);
    if (index == throws_at) throw std::runtime_error("another type");
    sample.index = index;
    sample.tokens.resize(5);
    sample.weights.assign(5, 1.0f);
    for (int t = 0; t < 5; ++t) sample.tokens[t] = static_cast<TokenId>(index * 10 + t);
    sample.weights[4] = index % 2 == 0 ? 0.25f : 0.0f;
    sample.segments.assign(1, Segment{});
    if (index % 3 == 0) sample.segments[0].kind = SegmentKind::spm1;
    sample.dropped = 2;
    sample.padded = 1;
    sample.reverted = index == 4;
  }
  int64_t fails_at = -1, throws_at = -1;
  mutable std::atomic<int> calls = 0;
};

bool same(const SampleBatch& a, const SampleBatch& b) {
  return a.first_sample == b.first_sample && a.rows == b.rows && a.n_ctx == b.n_ctx &&
         a.ids == b.ids && a.targets == b.targets && a.weights == b.weights &&
         a.total_weight == b.total_weight && a.stats.dropped == b.stats.dropped &&
         a.stats.padded == b.stats.padded && a.stats.reverted == b.stats.reverted &&
         a.stats.segments == b.stats.segments;
}

TEST(Loader, FillsRowsShiftedByOne) {
  const FakeStream stream;
  SampleBatch batch;
  fill_batch(stream, 4, 2, batch);
  EXPECT_EQ(batch.rows, 2);
  EXPECT_EQ(batch.n_ctx, 4);
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{40, 41, 42, 43, 50, 51, 52, 53}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{41, 42, 43, 44, 51, 52, 53, 54}));
  EXPECT_EQ(batch.weights, (std::vector<float>{1, 1, 1, 0.25f, 1, 1, 1, 0}));
  EXPECT_EQ(batch.total_weight, 6.25);
  EXPECT_EQ(batch.stats.dropped, 4);
  EXPECT_EQ(batch.stats.padded, 2);
  EXPECT_EQ(batch.stats.reverted, 1);
  EXPECT_EQ(batch.stats.segments[0], 2);
  fill_batch(stream, 6, 1, batch);  // a smaller batch after a larger one
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{60, 61, 62, 63}));
  EXPECT_EQ(batch.stats.segments[static_cast<size_t>(SegmentKind::spm1)], 1);
}

TEST(Loader, AnyNumberOfThreadsGivesTheSameSteps) {
  const FakeStream stream;
  for (const int threads : {1, 2, 5})
    for (const int ahead : {1, 2, 4}) {
      Loader loader(stream, 6, 0, threads, ahead);
      for (int64_t step = 0; step < 12; ++step) {
        SampleBatch expected;
        fill_batch(stream, step * 6, 6, expected);
        ASSERT_TRUE(same(loader.next(), expected))
            << "step " << step << ", " << threads << " threads, " << ahead << " ahead";
      }
    }
}

TEST(Loader, StartsAtAnyStepAsIfItHadRunThereFromTheBeginning) {
  const FakeStream stream;
  Loader straight(stream, 3, 0, 2, 3);
  for (int64_t step = 0; step < 20; ++step) {
    const SampleBatch& expected = straight.next();
    if (step % 5 == 2) {
      Loader resumed(stream, 3, step);
      ASSERT_TRUE(same(resumed.next(), expected)) << "step " << step;
    }
  }
}

TEST(Loader, DoesNotRunFurtherAheadThanAsked) {
  const FakeStream stream;
  Loader loader(stream, 4, 0, 2, 3);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LE(stream.calls, 12);
  loader.next();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LE(stream.calls, 16);
  EXPECT_GT(stream.calls, 12);
}

TEST(Loader, ErrorsReachTheStepTheyBelongTo) {
  FakeStream stream;
  stream.fails_at = 9;  // step 2 of 4 samples
  Loader loader(stream, 4, 0, 2, 4);
  loader.next();
  loader.next();
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(test::error_of([&] { loader.next(); }), "sample 9 is broken");
  stream.fails_at = -1;
  stream.throws_at = 1;
  Loader other(stream, 4, 0);
  EXPECT_EQ(test::error_of([&] { other.next(); }), "sample 1: another type");
}

TEST(Loader, CanBeDroppedWhileItWorks) {
  const FakeStream stream;
  for (int i = 0; i < 20; ++i) Loader loader(stream, 8, i, 3, 2);
  EXPECT_NE(test::error_of([&] { Loader loader(stream, 0, 0); }).find("0 samples"),
            std::string::npos);
}

TEST(Loader, ServesTheTrainingStream) {
  test::TemporaryDirectory directory;
  const auto dataset =
      test::dataset_of(directory / "set", test::small_tokenizer(),
                       test::random_documents(test::small_tokenizer(), 1, 100, 200));
  Config config;
  config.model.n_ctx = 64;
  const auto stream = training_stream(config, test::small_tokenizer(), dataset);
  Loader one(*stream, 8, 3, 1, 1), many(*stream, 8, 3, 3, 4);
  for (int step = 0; step < 30; ++step) {
    const SampleBatch& batch = one.next();
    ASSERT_TRUE(same(batch, many.next())) << "step " << step;
    ASSERT_EQ(batch.ids.size(), 8u * 64u);
    double weight = 0;
    for (const float w : batch.weights) weight += w;
    ASSERT_EQ(batch.total_weight, weight);
    ASSERT_EQ(weight, 8 * 64 - batch.stats.padded);
    for (const int32_t id : batch.targets) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, test::small_tokenizer().vocab_size());
    }
  }
}

}  // namespace
}  // namespace midfill
