#include "src/data/blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/common/rng.h"
#include "src/data/sample_stream.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using test::small_tokenizer;

constexpr int64_t kCycle = Blend::kCycle;

// One to eight weights over up to four orders of magnitude, each worth a slot.
std::vector<double> random_weights(Rng& rng) {
  std::vector<double> weights(1 + rng.below(8));
  for (double& weight : weights) weight = std::pow(10.0, 3 * rng.uniform());
  return weights;
}

std::vector<std::vector<double>> weight_vectors() {
  std::vector<std::vector<double>> all = {{1},
                                          {0.7, 0.3},
                                          {1, 1, 1},
                                          {9999, 1},
                                          {1, 9999},
                                          {1e-300, 3e-300},
                                          {1e300, 2e300},
                                          {5, 3, 2},
                                          {1, 2, 4, 8, 16},
                                          std::vector<double>(7, 0.1),
                                          std::vector<double>(1000, 3.0)};
  Rng rng(1, Purpose::kTest);
  for (int i = 0; i < 100; ++i) all.push_back(random_weights(rng));
  return all;
}

std::vector<double> shares_of(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> shares;
  for (const double weight : weights) shares.push_back(weight / sum);
  return shares;
}

TEST(Blend, AnyWindowOfACycleHasEachShareWithinOneSample) {
  Rng rng(2, Purpose::kTest);
  for (const auto& weights : weight_vectors()) {
    const Blend blend(weights);
    const auto shares = shares_of(weights);
    int64_t total = 0;
    for (size_t d = 0; d < weights.size(); ++d) {
      total += blend.count(d);
      ASSERT_LT(std::abs(static_cast<double>(blend.count(d)) - shares[d] * kCycle), 1.0);
    }
    ASSERT_EQ(total, kCycle);
    for (int window = 0; window < 3; ++window) {
      const auto begin = static_cast<int64_t>(rng.below(uint64_t{1} << 50));
      std::vector<int64_t> found(weights.size());
      for (int64_t i = begin; i < begin + kCycle; ++i) ++found[blend(i).source];
      for (size_t d = 0; d < weights.size(); ++d) ASSERT_EQ(found[d], blend.count(d)) << begin;
    }
  }
}

// Short windows are balanced too: no source is ever a whole sample ahead of its share or behind it.
TEST(Blend, NoSourceIsAheadOrBehindByASample) {
  for (const auto& weights : weight_vectors()) {
    const Blend blend(weights);
    std::vector<int64_t> found(weights.size());
    for (int64_t k = 1; k <= 2 * kCycle; ++k) {
      ++found[blend(k - 1).source];
      for (size_t d = 0; d < weights.size(); ++d)
        ASSERT_LT(std::abs(found[d] * kCycle - blend.count(d) * k), kCycle)
            << "source " << d << " of " << weights.size() << " after " << k;
    }
  }
}

// Whatever the order of asking, a source's samples are numbered without a gap over the stream.
TEST(Blend, RandomAccessCountsOnWithinEachSource) {
  Rng rng(3, Purpose::kTest);
  for (int round = 0; round < 10; ++round) {
    const auto weights = random_weights(rng);
    const Blend blend(weights), again(weights);
    std::vector<int64_t> next(weights.size());
    std::vector<Blend::Place> places;
    for (int64_t i = 0; i < 3 * kCycle; ++i) {
      places.push_back(blend(i));
      ASSERT_EQ(places.back().index, next[places.back().source]++) << i;
    }
    for (int i = 0; i < 1000; ++i) {
      const auto at = rng.below(places.size());
      ASSERT_EQ(again(static_cast<int64_t>(at)), places[at]);
    }
  }
  const Blend half({1, 1});
  EXPECT_EQ(half(INT64_MAX).index, INT64_MAX / 2);
}

TEST(Blend, RefusesWeightsWorthLessThanASample) {
  EXPECT_EQ(test::error_of([] {
              Blend({1, 1e-6, 1});
            }),
            "source 2 of 3: its weight 1e-06 is less than one sample in 10000 of the sum; expected "
            "a larger weight");
  EXPECT_NE(test::error_of([] { Blend(std::vector<double>(10001, 1.0)); }).find("source 10001"),
            std::string::npos);
  const Blend all(std::vector<double>(10000, 1.0));
  EXPECT_EQ(all.count(9999), 1);
}

// Three sources whose documents can be told apart.
class BlendedStreamTest : public testing::Test {
 protected:
  BlendedStreamTest() {
    config_.model.n_ctx = 64;
    for (const char* name : {"a", "b", "c"}) {
      test::dataset_of(directory_ / name, small_tokenizer(),
                       test::random_documents(small_tokenizer(), 20, 30, 200));
      sources_.push_back({.name = name, .path = directory_ / name});
    }
  }
  std::unique_ptr<BlendedStream> open(const std::vector<double>& weights) {
    config_.data.train.assign(sources_.begin(), sources_.begin() + std::ssize(weights));
    for (size_t d = 0; d < weights.size(); ++d) config_.data.train[d].weight = weights[d];
    return open_training_stream(config_, small_tokenizer());
  }
  // The first `count` samples of a source, in the order in which the stream gives them.
  static std::vector<std::vector<TokenId>> samples_of(const BlendedStream& stream, int source,
                                                      size_t count) {
    std::vector<std::vector<TokenId>> out;
    Sample sample;
    for (int64_t i = 0; out.size() < count; ++i) {
      stream.get(i, sample);
      EXPECT_EQ(sample.index, i);
      if (sample.source == source) out.push_back(sample.tokens);
    }
    return out;
  }

  test::TemporaryDirectory directory_;
  Config config_;
  std::vector<DataSource> sources_;
};

TEST_F(BlendedStreamTest, OneSourceIsTheDatasetAlone) {
  const auto alone = training_stream(
      config_, small_tokenizer(),
      std::make_shared<const IndexedDataset>(IndexedDataset::open(directory_ / "a")));
  const auto blended = open({0.3});
  EXPECT_EQ(blended->n_ctx(), 64);
  Sample a, b;
  for (const int64_t i : {0l, 1l, 77l, 9'999l, 10'000l, 123'456'789l, INT64_MAX}) {
    alone->get(i, a);
    blended->get(i, b);
    ASSERT_EQ(a, b) << i;
  }
}

// What a source shows depends on its place in the list alone, not on weights and neighbours.
TEST_F(BlendedStreamTest, WeightsAndMoreSourcesChangePlacesOnly) {
  const auto two = open({1, 1}), other = open({3, 1}), three = open({1, 1, 2});
  for (int source = 0; source < 2; ++source) {
    const auto expected = samples_of(*two, source, 200);
    EXPECT_EQ(samples_of(*other, source, 200), expected);
    EXPECT_EQ(samples_of(*three, source, 200), expected);
  }
}

// All three hold the same documents; orders, coins and cuts differ all the same.
TEST_F(BlendedStreamTest, SourcesDrawRandomNumbersOfTheirOwn) {
  const auto stream = open({1, 1, 1});
  const auto a = samples_of(*stream, 0, 100), b = samples_of(*stream, 1, 100),
             c = samples_of(*stream, 2, 100);
  int same = 0;
  for (int i = 0; i < 100; ++i) same += (a[i] == b[i]) + (b[i] == c[i]) + (a[i] == c[i]);
  EXPECT_LT(same, 10);
}

TEST_F(BlendedStreamTest, SaysWhatItIsMadeOf) {
  const auto stream = open({0.7, 0.2, 0.1});
  ASSERT_EQ(stream->sources().size(), 3u);
  const SourceInfo& b = stream->sources()[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.path, directory_ / "b");
  EXPECT_EQ(b.share, 0.2);
  EXPECT_EQ(b.samples, (b.tokens - 1) / 64);
}

TEST_F(BlendedStreamTest, NoticesASourceWhoseDocumentsDoNotEnd) {
  auto documents = test::random_documents(small_tokenizer(), 5, 40, 400);
  for (auto& document : documents) document.pop_back();
  for (const char* file : {"b.bin", "b.idx"}) std::filesystem::remove(directory_ / file);
  test::dataset_of(directory_ / "b", small_tokenizer(), documents);
  const auto stream = open({1, 1});
  EXPECT_EQ(stream->sources()[0].without_eod, 0);
  EXPECT_EQ(stream->sources()[1].without_eod, stream->sources()[1].tokens);
}

TEST_F(BlendedStreamTest, NamesTheSourceThatIsWrong) {
  EXPECT_NE(test::error_of([&] {
              open({1, 1e-9});
            }).find("data.train: source 2 of 2: its weight"),
            std::string::npos);
  std::filesystem::remove(directory_ / "b.bin");
  EXPECT_NE(test::error_of([&] { open({1, 1}); }).find(directory_ / "b.bin"), std::string::npos);
  EXPECT_NE(test::error_of([&] { open({}); }).find("data.train is empty"), std::string::npos);
}

}  // namespace
}  // namespace midfill
