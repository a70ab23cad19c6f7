#include "src/data/loader.h"

#include <atomic>
#include <chrono>
#include <set>
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
    sample.source = static_cast<int32_t>(index % 2);
  }
  int64_t fails_at = -1, throws_at = -1;
  mutable std::atomic<int> calls = 0;
};

bool same(const SampleBatch& a, const SampleBatch& b) {
  return a.first_sample == b.first_sample && a.rows == b.rows && a.n_ctx == b.n_ctx &&
         a.sources == b.sources && a.ids == b.ids && a.targets == b.targets &&
         a.weights == b.weights && a.total_weight == b.total_weight &&
         a.stats.dropped == b.stats.dropped && a.stats.padded == b.stats.padded &&
         a.stats.reverted == b.stats.reverted && a.stats.segments == b.stats.segments;
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
  EXPECT_EQ(batch.sources, (std::vector<int32_t>{0, 1}));
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

// An error late in what is prepared ahead hides nothing that comes before it, whoever meets it
// first, and of several in a step the first row's is reported.
TEST(Loader, ErrorsReachTheStepTheyBelongTo) {
  for (const int threads : {1, 2, 5})
    for (const int ahead : {1, 2, 8}) {
      FakeStream stream;
      stream.fails_at = 21;   // step 5 of 4 samples
      stream.throws_at = 22;  // the same step; sample 17, before both, is slow
      Loader loader(stream, 4, 0, threads, ahead);
      for (int64_t step = 0; step < 5; ++step) {
        SampleBatch expected;
        fill_batch(stream, step * 4, 4, expected);
        ASSERT_TRUE(same(loader.next(), expected)) << "step " << step;
      }
      for (int i = 0; i < 2; ++i)
        EXPECT_EQ(test::error_of([&] { loader.next(); }), "sample 21 is broken");
    }
  FakeStream stream;
  stream.throws_at = 1;
  Loader other(stream, 4, 0);
  EXPECT_EQ(test::error_of([&] { other.next(); }), "sample 1: another type");
}

// What the caller holds is where the threads wrote it, and stays as it is while they go on: ahead +
// 1 batches in turn, whose memory never moves.
TEST(Loader, GivesEachBatchWhereItWasMade) {
  const FakeStream stream;
  std::set<const int32_t*> places;
  Loader loader(stream, 6, 0, 2, 3);
  for (int64_t step = 0; step < 20; ++step) {
    const SampleBatch& batch = loader.next();
    places.insert(batch.ids.data());
    const SampleBatch before = batch;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_TRUE(same(batch, before)) << "step " << step;
  }
  EXPECT_EQ(places.size(), 4u);
}

// Weights of any value: the total is the same sum in the same order for every way of loading.
TEST(Loader, TotalWeightDoesNotDependOnThreads) {
  class Weighted final : public SampleStream {
   public:
    int64_t size() const override { return INT64_MAX; }
    int n_ctx() const override { return 37; }
    void get(int64_t index, Sample& sample) const override {
      Rng rng(5, Purpose::kTest, 0, static_cast<uint64_t>(index));
      sample.tokens.assign(38, 1);
      sample.weights.resize(38);
      for (float& weight : sample.weights) weight = static_cast<float>(rng.uniform());
    }
  };
  const Weighted stream;
  Loader one(stream, 5, 0, 1, 1), many(stream, 5, 0, 4, 3);
  for (int step = 0; step < 10; ++step) {
    const SampleBatch& batch = one.next();
    EXPECT_EQ(batch.total_weight, many.next().total_weight);
    double sum = 0;
    for (const float w : batch.weights) sum += w;
    EXPECT_NEAR(batch.total_weight, sum, 1e-9);
  }
}

TEST(Loader, CanBeDroppedWhileItWorks) {
  const FakeStream stream;
  for (int i = 0; i < 20; ++i) Loader loader(stream, 8, i, 3, 2);
  for (int taken = 1; taken < 8; ++taken) {
    Loader loader(stream, 8, 0, 3, 2);
    for (int i = 0; i < taken; ++i) loader.next();
  }
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
