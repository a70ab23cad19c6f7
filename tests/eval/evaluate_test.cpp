#include "src/eval/evaluate.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <tuple>

#include "src/model/parameters.h"
#include "tests/data/data_test_support.h"

namespace midfill {
namespace {

using test::small_tokenizer;

struct EvaluateTest : testing::Test {
  EvaluateTest() : device("cpu", 1) {
    config.model = {.n_layers = 1, .d_model = 16, .n_heads = 2, .d_ff = 32, .n_ctx = 48};
    config.model.vocab_size = small_tokenizer().vocab_size();
    config.data.valid = {{.path = dir / "valid"}};
    dataset = test::dataset_of(dir / "valid", small_tokenizer(),
                               test::random_documents(small_tokenizer(), 5, 20, 200));
    model.emplace(config.model, GptOptions{.max_batch = 4, .training = false, .head_chunk = 64},
                  device);
  }

  test::TemporaryDirectory dir;
  Config config;
  Device device;
  std::shared_ptr<const IndexedDataset> dataset;
  std::optional<Gpt> model;
};

TEST(Evaluate, StreamsFollowTheModes) {
  using enum EvalStream;
  EXPECT_EQ(streams_for(false, false, false), (std::vector{ar}));
  EXPECT_EQ(streams_for(true, false, true),
            (std::vector{ar, fim_psm, fim_spm2, middle_psm, middle_spm2, middle_ar}));
  FimConfig fim;
  fim.psm = 0;
  EXPECT_EQ(streams_for(fim), (std::vector{ar, fim_spm2, middle_spm2, middle_ar}));
  fim.rate = 0;
  EXPECT_EQ(streams_for(fim), (std::vector{ar}));
}

// With all weights zero every token costs log(vocabulary), whatever the stream.
TEST_F(EvaluateTest, UniformModelCostsLogVocabulary) {
  const Evaluator evaluator(config, small_tokenizer(), streams_for(true, true, true));
  const double uniform = std::log(config.model.vocab_size);
  for (const EvalResult& r : evaluator.run(*model, 6, 4)) {
    EXPECT_FALSE(!(std::abs(r.nats_per_token - uniform) <= 1e-5)) << name_of(r.stream);
    const double bits =
        uniform / std::numbers::ln2 * static_cast<double>(r.tokens) / static_cast<double>(r.bytes);
    EXPECT_FALSE(!(std::abs(r.bits_per_byte - bits) <= 1e-5)) << name_of(r.stream);
    EXPECT_EQ(r.samples, 6);
    EXPECT_GT(r.bytes, 0);
  }
}

// Counted from the samples, one by one.
TEST_F(EvaluateTest, CountsTokensAndBytesOfText) {
  const Evaluator evaluator(config, small_tokenizer(),
                            {EvalStream::fim_psm, EvalStream::middle_ar});
  for (const EvalResult& r : evaluator.run(*model, 5, 2)) {
    const auto stream = eval_stream(r.stream, config, small_tokenizer(), dataset);
    int64_t tokens = 0, bytes = 0;
    Sample sample;
    for (int64_t i = 0; i < 5; ++i) {
      stream->get(i, sample);
      for (size_t t = 1; t < sample.tokens.size(); ++t) {
        if (sample.weights[t] == 0) continue;
        ++tokens;
        if (!small_tokenizer().is_special(sample.tokens[t]))
          bytes += std::ssize(small_tokenizer().bytes_of(sample.tokens[t]));
      }
    }
    EXPECT_EQ(r.tokens, tokens);
    EXPECT_EQ(r.bytes, bytes);
  }
}

TEST_F(EvaluateTest, MiddlesAreTheSameInEveryOrder) {
  const Evaluator evaluator(config, small_tokenizer(), streams_for(true, false, false));
  const auto results = evaluator.run(*model, 1000, 3);
  ASSERT_EQ(results.size(), 4u);
  const EvalResult &psm = results[2], &plain = results[3];
  EXPECT_EQ(psm.stream, EvalStream::middle_psm);
  EXPECT_EQ(plain.stream, EvalStream::middle_ar);
  EXPECT_EQ(psm.tokens, plain.tokens);
  EXPECT_EQ(psm.bytes, plain.bytes);
  EXPECT_LT(psm.samples, 1000) << "no more than the stream has";
}

TEST_F(EvaluateTest, BatchSizeDoesNotMatter) {
  init_parameters(model->device().cpu(), model->table(), config.model, 3, model->params());
  const Evaluator evaluator(config, small_tokenizer(), streams_for(true, false, true));
  const auto one = evaluator.run(*model, 7, 1), four = evaluator.run(*model, 7, 4);
  ASSERT_EQ(one.size(), four.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].tokens, four[i].tokens);
    EXPECT_FALSE(!(std::abs(one[i].nats_per_token - four[i].nats_per_token) <= 1e-5));
  }
}

// Each source's losses are those of its dataset alone, to the bit; the stream's are their means by
// weight.
TEST_F(EvaluateTest, SourcesAreEvaluatedEachAndInAll) {
  init_parameters(model->device().cpu(), model->table(), config.model, 3, model->params());
  test::dataset_of(dir / "other", small_tokenizer(),
                   test::random_documents(small_tokenizer(), 6, 9, 150));
  const auto kinds = streams_for(true, false, true);
  const auto results_on = [&](std::vector<DataSource> sources) {
    config.data.valid = std::move(sources);
    return Evaluator(config, small_tokenizer(), kinds).run(*model, 9, 4);
  };
  const auto a = results_on({{.path = dir / "valid"}});
  const auto b = results_on({{.name = "b", .path = dir / "other", .weight = 7}});
  const auto both = results_on({{.name = "a", .path = dir / "valid", .weight = 3},
                                {.name = "b", .path = dir / "other", .weight = 1}});
  ASSERT_EQ(both.size(), kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i) {
    EXPECT_TRUE(a[i].sources.empty());
    EXPECT_TRUE(b[i].sources.empty()) << "one source needs no breakdown";
    EXPECT_EQ(both[i].stream, kinds[i]);
    ASSERT_EQ(both[i].sources.size(), 2u);
    for (const auto& [source, alone, name] : {std::tuple(&both[i].sources[0], &a[i], "a"),
                                              std::tuple(&both[i].sources[1], &b[i], "b")}) {
      EXPECT_EQ(source->source, name);
      EXPECT_EQ(source->samples, alone->samples);
      EXPECT_EQ(source->tokens, alone->tokens);
      EXPECT_EQ(source->bytes, alone->bytes);
      EXPECT_EQ(source->nats_per_token, alone->nats_per_token);
      EXPECT_EQ(source->bits_per_byte, alone->bits_per_byte);
    }
    EXPECT_NE(a[i].nats_per_token, b[i].nats_per_token);
    EXPECT_EQ(both[i].samples, a[i].samples + b[i].samples);
    EXPECT_EQ(both[i].tokens, a[i].tokens + b[i].tokens);
    EXPECT_EQ(both[i].bytes, a[i].bytes + b[i].bytes);
    EXPECT_DOUBLE_EQ(both[i].nats_per_token, (3 * a[i].nats_per_token + b[i].nats_per_token) / 4);
    EXPECT_DOUBLE_EQ(both[i].bits_per_byte, (3 * a[i].bits_per_byte + b[i].bits_per_byte) / 4);
  }
}

// Documents without a text: their middles are empty, and all tokens stand for no byte.
TEST_F(EvaluateTest, LossesOfNothingAreNone) {
  test::dataset_of(dir / "empty", small_tokenizer(),
                   std::vector(200, std::vector{small_tokenizer().sentinels().eod}));
  init_parameters(model->device().cpu(), model->table(), config.model, 3, model->params());
  const std::vector kinds = {EvalStream::ar, EvalStream::middle_psm, EvalStream::middle_ar};
  const auto results_on = [&](std::vector<DataSource> sources) {
    config.data.valid = std::move(sources);
    return Evaluator(config, small_tokenizer(), kinds).run(*model, 3, 2);
  };
  const auto none = results_on({{.path = dir / "empty"}});
  EXPECT_GT(none[0].tokens, 0);
  EXPECT_GT(none[0].nats_per_token, 0.0);
  EXPECT_EQ(nats_text(none[0]), fmt::format("{:.4f}", none[0].nats_per_token));
  for (size_t i = 0; i < kinds.size(); ++i) {
    EXPECT_EQ(none[i].bytes, 0);
    EXPECT_TRUE(std::isnan(none[i].bits_per_byte));
    EXPECT_EQ(bits_text(none[i]), "none");
    if (i == 0) continue;
    EXPECT_EQ(none[i].tokens, 0);
    EXPECT_TRUE(std::isnan(none[i].nats_per_token));
    EXPECT_EQ(nats_text(none[i]), "none");
  }

  // They do not count in a mean of sources, unless all are such.
  const auto full = results_on({{.path = dir / "valid"}});
  const auto mixed = results_on({{.name = "a", .path = dir / "empty", .weight = 5},
                                 {.name = "b", .path = dir / "valid", .weight = 2}});
  const auto twice =
      results_on({{.name = "a", .path = dir / "empty"}, {.name = "b", .path = dir / "empty"}});
  EXPECT_DOUBLE_EQ(mixed[0].nats_per_token,
                   (5 * none[0].nats_per_token + 2 * full[0].nats_per_token) / 7);
  EXPECT_EQ(mixed[0].bits_per_byte, full[0].bits_per_byte);
  for (size_t i = 1; i < kinds.size(); ++i) {
    EXPECT_EQ(mixed[i].nats_per_token, full[i].nats_per_token);
    EXPECT_EQ(mixed[i].bits_per_byte, full[i].bits_per_byte);
    EXPECT_EQ(mixed[i].tokens, full[i].tokens);
    EXPECT_EQ(nats_text(mixed[i].sources[0]), "none");
    EXPECT_EQ(nats_text(twice[i]), "none");
    EXPECT_TRUE(std::isnan(twice[i].nats_per_token));
  }
}

// A model that has come apart is not the same as nothing to measure it by.
TEST(Evaluate, LossesThatAreNoNumbersStaySo) {
  EvalLoss loss{.samples = 1, .tokens = 1, .bytes = 1, .nats_per_token = -std::nan("")};
  loss.bits_per_byte = std::numeric_limits<double>::infinity();
  EXPECT_EQ(nats_text(loss), "nan");
  EXPECT_EQ(bits_text(loss), "inf");
}

TEST_F(EvaluateTest, NamesWhatIsMissing) {
  config.data.valid = {};
  EXPECT_NE(test::error_of([&] {
              Evaluator(config, small_tokenizer(), {EvalStream::ar});
            }).find("data.valid is empty"),
            std::string::npos);
}

}  // namespace
}  // namespace midfill
