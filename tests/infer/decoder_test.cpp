#include "src/infer/decoder.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/rng.h"
#include "tests/support/numerics.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using Ids = std::vector<int32_t>;

// 37 tokens padded to 48, three heads of 8.
ModelConfig tiny() {
  return {.n_layers = 2,
          .d_model = 24,
          .n_heads = 3,
          .d_ff = 40,
          .n_ctx = 50,
          .vocab_size = 37,
          .vocab_multiple = 16};
}

struct Variant {
  bool parallel, tied;
  double rotary_pct;
  Activation activation;
  int vocab_multiple;
};

std::ostream& operator<<(std::ostream& out, const Variant& v) {
  return out << (v.parallel ? "parallel" : "sequential") << (v.tied ? "_tied" : "_untied")
             << "_rotary" << static_cast<int>(100 * v.rotary_pct)
             << (v.activation == Activation::gelu_tanh ? "_tanh" : "_erf") << "_multiple"
             << v.vocab_multiple;
}

// Every weight a random number, so that no term of the equations vanishes; padded rows are large,
// so that they show wherever they are not masked.
struct RandomModel {
  Device device;
  Gpt gpt;

  explicit RandomModel(const ModelConfig& config, int batch = 4, int threads = 1)
      : device("cpu", threads), gpt(config, {.max_batch = batch, .training = false}, device) {
    uint64_t key = 0;
    for (const Parameter& p : gpt.table().all()) {
      const auto values = test::random_floats(p.numel, ++key, 0.3, p.init_mean);
      std::copy(values.begin(), values.end(), gpt.param(p.name).as<float>());
      if (p.shape[0] == config.padded_vocab())
        std::fill(gpt.param(p.name).as<float>() + config.vocab_size * config.d_model,
                  gpt.param(p.name).as<float>() + p.numel, 9.0f);
    }
  }

  // Log-probabilities of ids (B,T+1): row b, position t predicts ids[b][t + 1].
  std::vector<float> logprobs(const std::vector<Ids>& ids) {
    const auto B = static_cast<int64_t>(ids.size());
    const auto T = static_cast<int64_t>(ids[0].size()) - 1;
    Ids in, out;
    for (const Ids& row : ids) {
      in.insert(in.end(), row.begin(), row.end() - 1);
      out.insert(out.end(), row.begin() + 1, row.end());
    }
    const std::vector<float> weights(in.size(), 1.0f);
    std::vector<float> losses(in.size(), NAN);
    gpt.forward({.ids = Tensor::of(in.data(), {B, T}),
                 .targets = Tensor::of(out.data(), {B, T}),
                 .weights = Tensor::of(weights.data(), {B, T})},
                losses);
    for (float& x : losses) x = -x;
    return losses;
  }
};

double logprob(std::span<const float> logits, int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (float x : logits) total += std::exp(x - top);
  return logits[id] - top - std::log(total);
}

Ids random_ids(int64_t n, uint64_t key) {
  return test::random_ids(n, 37, key);
}

class DecoderVariants : public testing::TestWithParam<Variant> {
 protected:
  static ModelConfig config() {
    const Variant& v = GetParam();
    ModelConfig c = tiny();
    c.parallel_residual = v.parallel;
    c.tied_embeddings = v.tied;
    c.rotary_pct = v.rotary_pct;
    c.activation = v.activation;
    c.vocab_multiple = v.vocab_multiple;
    return c;
  }
};
INSTANTIATE_TEST_SUITE_P(Variants, DecoderVariants,
                         testing::Values(Variant{false, false, 1.0, Activation::gelu_tanh, 16},
                                         Variant{false, true, 0.25, Activation::gelu_erf, 16},
                                         Variant{true, false, 0.25, Activation::gelu_tanh, 1},
                                         Variant{true, true, 1.0, Activation::gelu_erf, 16},
                                         Variant{false, false, 0.0, Activation::gelu_tanh, 16}),
                         testing::PrintToStringParamName());

TEST_P(DecoderVariants, LogitsAreThoseOfTheModelAtEveryPosition) {
  RandomModel model(config());
  const Ids ids = random_ids(50, 1);
  const auto expected = model.logprobs({ids});
  for (size_t prompt : {1, 2, 17, 49}) {
    Decoder decoder(model.gpt, 1);
    auto logits = decoder.append(std::span(ids).first(prompt));
    for (size_t t = prompt;; ++t) {
      ASSERT_EQ(decoder.length(), static_cast<int64_t>(t));
      ASSERT_EQ(logits.size(), 37u);
      EXPECT_TRUE(std::abs(logprob(logits, ids[t]) - expected[t - 1]) <= 2e-5)
          << "prompt " << prompt << ", position " << t << ": " << logprob(logits, ids[t])
          << ", expected " << expected[t - 1];
      if (t + 1 == ids.size()) break;
      logits = decoder.append(std::span(ids).subspan(t, 1));
    }
  }
}

TEST_P(DecoderVariants, SequencesOfABatchDoNotTouchEachOther) {
  RandomModel model(config());
  const Ids prompt = random_ids(9, 2);
  const int64_t extra = 12;
  std::vector<Ids> rows(4, prompt);
  for (size_t b = 0; b < rows.size(); ++b)
    for (int32_t id : random_ids(extra, 10 + b)) rows[b].push_back(id);
  const auto expected = model.logprobs(rows);
  const int64_t T = static_cast<int64_t>(rows[0].size()) - 1;

  Decoder decoder(model.gpt, 4);
  decoder.append(prompt);
  decoder.broadcast(4);
  std::vector<int> active = {0, 1, 2, 3};
  for (int64_t t = 9; t < T; ++t) {
    if (t == 12) {  // two leave, the others move together
      decoder.keep(std::vector<int>{1, 3});
      active = {1, 3};
    }
    Ids next;
    for (int b : active) next.push_back(rows[b][t]);
    const auto logits = decoder.append(next);
    ASSERT_EQ(logits.size(), active.size() * 37);
    for (size_t i = 0; i < active.size(); ++i) {
      const double found = logprob(logits.subspan(i * 37, 37), rows[active[i]][t + 1]);
      EXPECT_TRUE(std::abs(found - expected[active[i] * T + t]) <= 2e-5)
          << "sequence " << active[i] << ", position " << t;
    }
  }

  // Back to the prompt, on another way; several tokens at once in a batch.
  decoder.rewind(9);
  EXPECT_EQ(decoder.batch(), 1);
  decoder.broadcast(2);
  Ids both;
  for (int b : {2, 0}) both.insert(both.end(), rows[b].begin() + 9, rows[b].begin() + 14);
  const auto logits = decoder.append(both);
  EXPECT_TRUE(std::abs(logprob(logits.first(37), rows[2][14]) - expected[2 * T + 13]) <= 2e-5);
  EXPECT_TRUE(std::abs(logprob(logits.subspan(37), rows[0][14]) - expected[13]) <= 2e-5);
}

TEST(Decoder, LongPromptsGoThroughInPieces) {
  ModelConfig config = tiny();
  config.n_ctx = 1200;
  RandomModel model(config, 1, 2);
  const Ids ids = random_ids(1151, 3);
  const auto expected = model.logprobs({ids});
  Decoder decoder(model.gpt, 1);
  const auto logits = decoder.append(std::span(ids).first(1150));
  EXPECT_TRUE(std::abs(logprob(logits, ids[1150]) - expected[1149]) <= 5e-5);
  EXPECT_EQ(decoder.length(), 1150);
}

TEST(Decoder, ContextAndVocabularyEndWhereTheyEnd) {
  RandomModel model(tiny());
  Decoder decoder(model.gpt, 2);
  decoder.append(random_ids(49, 4));
  decoder.append(random_ids(1, 4));
  EXPECT_EQ(error_of([&] { decoder.append(random_ids(1, 4)); }),
            "decoder: 1 tokens after 50 do not fit the context of 50");
  decoder.rewind(3);
  EXPECT_EQ(error_of([&] { decoder.append(Ids{37}); }),
            "decoder: id 37 is outside the vocabulary of 37");
  EXPECT_EQ(error_of([&] { decoder.append(Ids{}); }), "decoder: 0 ids for 1 sequences");
  EXPECT_EQ(error_of([&] { decoder.rewind(4); }), "decoder: cannot rewind 3 positions to 4");
  EXPECT_EQ(error_of([&] { decoder.broadcast(3); }), "decoder: 3 sequences, expected 1 to 2");
  decoder.broadcast(2);
  EXPECT_EQ(error_of([&] { decoder.append(Ids{1, 2, 3}); }), "decoder: 3 ids for 2 sequences");
  EXPECT_EQ(error_of([&] { decoder.keep(std::vector<int>{2}); }),
            "decoder: cannot keep sequence 2 of 2");
  EXPECT_EQ(error_of([&] { Decoder(model.gpt, 0); }),
            "a decoder needs a batch of at least 1, found 0");
}

}  // namespace
}  // namespace midfill
