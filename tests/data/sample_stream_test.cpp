#include "src/data/sample_stream.h"

#include <algorithm>
#include <set>
#include <thread>

#include "src/data/dataset_writer.h"
#include "src/data/document_fim.h"
#include "src/data/fim.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using test::small_tokenizer;
using Tokens = std::vector<TokenId>;

constexpr EvalStream kEvalStreams[] = {EvalStream::ar,          EvalStream::fim_psm,
                                       EvalStream::fim_spm1,    EvalStream::fim_spm2,
                                       EvalStream::middle_psm,  EvalStream::middle_spm1,
                                       EvalStream::middle_spm2, EvalStream::middle_ar};

class SampleStreamTest : public testing::Test {
 protected:
  SampleStreamTest() {
    config_.model.n_ctx = 96;
    config_.fim = {.rate = 0.9,
                   .level = FimLevel::context,
                   .unit = FimUnit::character,
                   .psm = 1,
                   .spm1 = 1,
                   .spm2 = 1};
    documents_ = test::random_documents(small_tokenizer(), 11, 300, 300);
    dataset_ = test::dataset_of(directory_ / "set", small_tokenizer(), documents_);
    for (const Tokens& document : documents_)
      stream_.insert(stream_.end(), document.begin(), document.end());
    n_samples_ = (static_cast<int64_t>(stream_.size()) - 1) / config_.model.n_ctx;
  }

  std::unique_ptr<SampleStream> training() const {
    return training_stream(config_, small_tokenizer(), dataset_);
  }
  std::unique_ptr<SampleStream> eval(EvalStream kind) const {
    return eval_stream(kind, config_, small_tokenizer(), dataset_);
  }
  Tokens slice(int64_t k) const {
    const auto begin = stream_.begin() + k * config_.model.n_ctx;
    return {begin, begin + config_.model.n_ctx + 1};
  }

  test::TemporaryDirectory directory_;
  Config config_;
  std::vector<Tokens> documents_;
  std::shared_ptr<const IndexedDataset> dataset_;
  Tokens stream_;
  int64_t n_samples_ = 0;
};

TEST_F(SampleStreamTest, AnEpochIsEverySampleOnceInAnOrderOfItsOwn) {
  for (const FimLevel level : {FimLevel::context, FimLevel::document}) {
    config_.fim.rate = 0;
    config_.fim.level = level;
    const auto stream = training();
    EXPECT_EQ(stream->size(), INT64_MAX);
    std::set<Tokens> expected;
    for (int64_t k = 0; k < n_samples_; ++k) expected.insert(slice(k));
    ASSERT_EQ(static_cast<int64_t>(expected.size()), n_samples_);
    std::vector<Tokens> order[2];
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::set<Tokens> found;
      for (int64_t i = 0; i < n_samples_; ++i) {
        Sample sample;
        stream->get(epoch * n_samples_ + i, sample);
        EXPECT_EQ(sample.index, epoch * n_samples_ + i);
        EXPECT_EQ(sample.weights[0], 0.0f);
        EXPECT_EQ(std::count(sample.weights.begin() + 1, sample.weights.end(), 1.0f),
                  config_.model.n_ctx);
        found.insert(sample.tokens);
        order[epoch].push_back(sample.tokens);
      }
      EXPECT_EQ(found, expected);
    }
    EXPECT_NE(order[0], order[1]);
  }
}

TEST_F(SampleStreamTest, EpochsCutTheSameTextElsewhere) {
  config_.fim = {.rate = 1.0,
                 .level = FimLevel::context,
                 .unit = FimUnit::character,
                 .psm = 1,
                 .spm1 = 0,
                 .spm2 = 0};
  const auto stream = training();
  std::set<Tokens> first, second;
  Sample sample;
  for (int64_t i = 0; i < n_samples_; ++i) {
    stream->get(i, sample);
    first.insert(sample.tokens);
    stream->get(n_samples_ + i, sample);
    second.insert(sample.tokens);
  }
  int64_t shared = 0;
  for (const Tokens& tokens : first) shared += static_cast<int64_t>(second.count(tokens));
  EXPECT_LT(shared, n_samples_ / 10);
}

TEST_F(SampleStreamTest, Defect10OrderWorkersAndRestartsChangeNothing) {
  for (const FimLevel level : {FimLevel::context, FimLevel::document}) {
    config_.fim.level = level;
    const int64_t count = 2 * n_samples_ + 5;
    std::vector<Sample> straight(count);
    {
      const auto stream = training();
      for (int64_t i = 0; i < count; ++i) stream->get(i, straight[i]);
    }
    const auto stream = training();  // another object: a restart
    std::vector<Sample> threaded(count);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        // Each thread takes every fourth sample, backwards, by way of others.
        Sample other;
        for (int64_t i = count - 1 - t; i >= 0; i -= 4) {
          stream->get((i * 7919) % count, other);
          stream->get(i, threaded[i]);
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(threaded[i], straight[i]) << "sample " << i;
  }
}

TEST_F(SampleStreamTest, TheSeedChangesOrderAndCuts) {
  Sample a, b;
  training()->get(0, a);
  config_.seed += 1;
  training()->get(0, b);
  EXPECT_NE(a.tokens, b.tokens);
}

TEST_F(SampleStreamTest, TinyDatasetsServeAnyNumberOfEpochs) {
  const auto tiny = test::dataset_of(directory_ / "tiny", small_tokenizer(),
                                     {Tokens(stream_.begin(), stream_.begin() + 100)});
  config_.fim.rate = 1;
  const auto stream = training_stream(config_, small_tokenizer(), tiny);
  std::set<Tokens> seen;
  Sample sample;
  for (const int64_t index : {0l, 65535l, 65536l, 131072l, 1l << 40}) {
    stream->get(index, sample);
    EXPECT_EQ(sample.tokens.size(), 97u);
    seen.insert(sample.tokens);
  }
  EXPECT_EQ(seen.size(), 5u) << "cuts differ in every epoch";
}

TEST_F(SampleStreamTest, Defect08ValidationIsFrozenAndNeverMixed) {
  for (const EvalStream kind : kEvalStreams) {
    const auto before = eval(kind);
    const Config saved = config_;
    config_.seed = 999;
    config_.fim = {.rate = 0.3,
                   .level = FimLevel::document,
                   .unit = FimUnit::line,
                   .psm = 0,
                   .spm1 = 5,
                   .spm2 = 1};
    const auto after = eval(kind);
    config_ = saved;
    ASSERT_EQ(before->size(), n_samples_);
    for (int64_t i = 0; i < n_samples_; ++i) {
      Sample a, b;
      before->get(i, a);
      after->get(i, b);
      ASSERT_EQ(a, b) << name_of(kind) << ", sample " << i;
    }
  }
  // Plain text stays plain; every other stream has one mode.
  for (int64_t i = 0; i < n_samples_; ++i) {
    Sample ar, psm;
    eval(EvalStream::ar)->get(i, ar);
    eval(EvalStream::fim_psm)->get(i, psm);
    for (const Segment& s : ar.segments) ASSERT_EQ(s.kind, SegmentKind::ar);
    ASSERT_EQ(std::search(stream_.begin(), stream_.end(), ar.tokens.begin(), ar.tokens.end()) ==
                  stream_.end(),
              false);
    for (const Segment& s : psm.segments)
      ASSERT_TRUE(s.kind == SegmentKind::psm || s.kind == SegmentKind::ar);
  }
}

TEST_F(SampleStreamTest, FimStreamsTransformEverySegmentInOneMode) {
  const std::pair<EvalStream, SegmentKind> kinds[] = {{EvalStream::fim_psm, SegmentKind::psm},
                                                      {EvalStream::fim_spm1, SegmentKind::spm1},
                                                      {EvalStream::fim_spm2, SegmentKind::spm2}};
  for (const auto& [kind, mode] : kinds) {
    const auto stream = eval(kind);
    int transformed = 0, plain = 0;
    for (int64_t i = 0; i < n_samples_; ++i) {
      Sample sample;
      stream->get(i, sample);
      for (const Segment& s : sample.segments) {
        transformed += s.kind == mode;
        // Only the last may be left without room; empty documents have nothing to cut.
        if (s.kind != mode && &s != &sample.segments.back() && s.range.size() > 4) ++plain;
      }
      for (int32_t t = 1; t < config_.model.n_ctx + 1 - sample.padded; ++t)
        ASSERT_EQ(sample.weights[t], 1.0f);
    }
    EXPECT_GT(transformed, static_cast<int>(n_samples_));
    EXPECT_EQ(plain, 0);
  }
}

// The losses on middles with and without the suffix are over the same tokens.
TEST_F(SampleStreamTest, MiddleStreamsWeighTheSameTokens) {
  const auto middles = [](const Sample& sample) {
    Tokens ids;
    for (size_t t = 1; t < sample.tokens.size(); ++t)
      if (sample.weights[t] > 0) ids.push_back(sample.tokens[t]);
    return ids;
  };
  const auto psm = eval(EvalStream::middle_psm), spm1 = eval(EvalStream::middle_spm1),
             spm2 = eval(EvalStream::middle_spm2), ar = eval(EvalStream::middle_ar),
             fim = eval(EvalStream::fim_psm);
  int64_t weighed = 0;
  int at_the_start = 0;
  for (int64_t i = 0; i < n_samples_; ++i) {
    Sample p, s1, s2, a, f;
    psm->get(i, p);
    spm1->get(i, s1);
    spm2->get(i, s2);
    ar->get(i, a);
    fim->get(i, f);
    ASSERT_EQ(p.tokens, f.tokens);
    const Tokens expected = middles(p);
    ASSERT_EQ(middles(s1), expected);
    ASSERT_EQ(middles(s2), expected);
    ASSERT_EQ(middles(a), expected);
    Tokens parts;
    for (const Segment& s : p.segments)
      parts.insert(parts.end(), p.tokens.begin() + s.middle.begin, p.tokens.begin() + s.middle.end);
    ASSERT_EQ(expected, parts) << "all of the middles, without their EOD";
    weighed += static_cast<int64_t>(expected.size());

    // Reading order: the same text as the infilling form's prefix, middle, suffix.
    ASSERT_EQ(a.tokens.size(), p.tokens.size());
    ASSERT_EQ(a.segments.size(), p.segments.size());
    for (size_t s = 0; s < a.segments.size(); ++s) {
      const Segment &plain = a.segments[s], &infilling = p.segments[s];
      for (const auto range : {&Segment::prefix, &Segment::middle, &Segment::suffix})
        ASSERT_EQ(
            Tokens(a.tokens.begin() + (plain.*range).begin, a.tokens.begin() + (plain.*range).end),
            Tokens(p.tokens.begin() + (infilling.*range).begin,
                   p.tokens.begin() + (infilling.*range).end));
      ASSERT_EQ(plain.prefix.end, plain.middle.begin);
      ASSERT_EQ(plain.middle.end, plain.suffix.begin);
    }
    at_the_start += a.segments[0].range.begin > 0;
    const Sentinels& ids = small_tokenizer().sentinels();
    for (const TokenId id : a.tokens) ASSERT_TRUE(id != ids.pre && id != ids.suf && id != ids.mid);
  }
  EXPECT_GT(weighed, 10 * n_samples_);
  EXPECT_GT(at_the_start, 0) << "the test has seen a middle at the very start";
}

TEST_F(SampleStreamTest, DocumentLevelTilesTheStreamByWholeDocuments) {
  config_.fim = {.rate = 1.0,
                 .level = FimLevel::document,
                 .unit = FimUnit::character,
                 .psm = 1,
                 .spm1 = 1,
                 .spm2 = 1};
  const auto packed =
      std::make_shared<PackedTokens>(dataset_, config_.model.n_ctx, small_tokenizer().vocab_size());
  const DocumentFim level(config_.fim, small_tokenizer(), packed);
  // The transformed stream, put together from its samples; neighbours agree on the shared token.
  Tokens out;
  std::vector<float> weights;
  int64_t dropped = 0, padded = 0;
  for (int64_t k = 0; k < n_samples_; ++k) {
    Sample sample;
    level.get(7, 2, k, sample);
    ASSERT_EQ(sample.tokens.size(), 97u);
    if (k > 0) {
      ASSERT_EQ(out.back(), sample.tokens[0]);
    }
    out.insert(out.end(), sample.tokens.begin() + (k > 0), sample.tokens.end());
    weights.insert(weights.end(), sample.weights.begin() + (k > 0), sample.weights.end());
    dropped += sample.dropped;
    padded += sample.padded;
    int32_t at = 0;
    for (const Segment& s : sample.segments) {
      ASSERT_GE(s.range.begin, at);
      at = s.range.end;
      for (const TokenRange part : {s.prefix, s.middle, s.suffix}) {
        ASSERT_GE(part.begin, s.range.begin);
        ASSERT_LE(part.begin, part.end);
        ASSERT_LE(part.end, s.range.end);
      }
    }
    ASSERT_LE(at, 97);
  }
  std::set<int64_t> starts;
  for (int64_t i = 0; i < dataset_->n_sequences(); ++i) starts.insert(dataset_->sequence_begin(i));
  const FimTransform transform(config_.fim, small_tokenizer());
  int64_t complete_documents = 0, groups = 0, marks = 0;
  for (int64_t begin = 0; begin < static_cast<int64_t>(stream_.size());) {
    const DocumentFim::Group group = level.group_at(begin);
    ASSERT_EQ(group.begin, begin);
    ASSERT_EQ(level.group_at(group.end - 1).begin, begin);
    ASSERT_GT(group.end, begin);
    ASSERT_TRUE(starts.count(begin)) << "a group starts with a document";
    ++groups;
    const Tokens in(stream_.begin() + begin, stream_.begin() + group.end);
    Sample whole;
    transform.apply(in, {7, Purpose::kDocumentFim, 2, static_cast<uint64_t>(begin)}, whole);
    for (int64_t i = begin; i < std::min<int64_t>(group.end, static_cast<int64_t>(out.size()));
         ++i) {
      ASSERT_EQ(out[i], whole.tokens[i - begin]) << "token " << i;
      ASSERT_EQ(weights[i], whole.weights[i - begin]);
    }
    complete_documents += static_cast<int64_t>(whole.segments.size()) - 1;
    for (const Segment& s : whole.segments) marks += s.kind != SegmentKind::ar;
    begin = group.end;
  }
  EXPECT_GT(groups, 20);
  EXPECT_GT(complete_documents, 200) << "most documents keep their endings";
  EXPECT_GT(marks, 200);
  EXPECT_GT(dropped, 0);
  EXPECT_LT(padded, groups);
}

TEST_F(SampleStreamTest, DocumentLevelServesOneLongDocument) {
  Rng rng(3, Purpose::kTest);
  std::string text;
  while (text.size() < 60000) text += test::random_text(rng, 1000);
  Tokens document = small_tokenizer().encode(text, {.match_special = false});
  document.push_back(small_tokenizer().sentinels().eod);
  const auto dataset = test::dataset_of(directory_ / "long", small_tokenizer(), {document});
  config_.fim.level = FimLevel::document;
  config_.fim.rate = 1;
  const auto stream = training_stream(config_, small_tokenizer(), dataset);
  const int64_t n = (static_cast<int64_t>(document.size()) - 1) / 96;
  int cut = 0;
  for (int64_t i = 0; i < n; ++i) {
    Sample sample;
    stream->get(i, sample);
    for (const Segment& s : sample.segments)
      cut += s.kind != SegmentKind::ar &&
             (s.prefix.size() == 0 || s.middle.size() == 0 || s.suffix.size() == 0);
  }
  EXPECT_GT(cut, n / 2) << "contexts fall inside one part";
}

TEST_F(SampleStreamTest, SaysWhatADatasetLacks) {
  const auto small = test::dataset_of(directory_ / "small", small_tokenizer(),
                                      {Tokens(stream_.begin(), stream_.begin() + 96)});
  const std::string error =
      test::error_of([&] { training_stream(config_, small_tokenizer(), small); });
  EXPECT_NE(error.find("holds 96 tokens"), std::string::npos) << error;
  EXPECT_NE(error.find("97"), std::string::npos) << error;
  EXPECT_NE(test::error_of([&] {
              eval_stream(EvalStream::ar, config_, small_tokenizer(), small);
            }).find("holds 96 tokens"),
            std::string::npos);
  Sample sample;
  EXPECT_NE(test::error_of([&] { eval(EvalStream::ar)->get(n_samples_, sample); }).find("has"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { training()->get(-1, sample); }).find("-1"), std::string::npos);
}

TEST_F(SampleStreamTest, ReportsIdsOfAnotherTokenizer) {
  Tokens foreign(97, 60000);
  {
    IndexedDatasetWriter writer(directory_ / "foreign", 65000);
    writer.add_document(foreign);
    writer.commit();
  }
  const auto dataset =
      std::make_shared<IndexedDataset>(IndexedDataset::open(directory_ / "foreign"));
  const auto stream = training_stream(config_, small_tokenizer(), dataset);
  Sample sample;
  const std::string error = test::error_of([&] { stream->get(0, sample); });
  EXPECT_NE(error.find("60000"), std::string::npos) << error;
  EXPECT_NE(error.find("foreign.bin"), std::string::npos) << error;
}

TEST(EvalStreams, HaveTheirNames) {
  std::string names;
  for (const EvalStream kind : kEvalStreams) names += std::string(name_of(kind)) + " ";
  EXPECT_EQ(names, "ar fim_psm fim_spm1 fim_spm2 middle_psm middle_spm1 middle_spm2 middle_ar ");
}

}  // namespace
}  // namespace midfill
