#include "src/infer/generator.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "src/infer/infill.h"
#include "tests/data/data_test_support.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::byte_token;
using test::error_of;
using test::small_tokenizer;
using Ids = std::vector<TokenId>;

// A Markov chain: blocks add nothing, and embeddings are unit vectors, so that the final norm of
// token i is large at i alone and column i of the head says what follows it.
struct Chain {
  Device device{"cpu", 1};
  ModelConfig config;
  Gpt gpt;

  static ModelConfig config_of(int spare_rows) {
    const int vocab = small_tokenizer().vocab_size() + spare_rows;
    return {.n_layers = 1,
            .d_model = (vocab + 15) / 16 * 16,
            .n_heads = 4,
            .d_ff = 16,
            .n_ctx = 64,
            .vocab_size = vocab,
            .vocab_multiple = 64};
  }
  explicit Chain(int spare_rows = 0)
      : config(config_of(spare_rows)), gpt(config, {.max_batch = 1, .training = false}, device) {
    for (const Parameter& p : gpt.table().all())
      std::fill_n(gpt.param(p.name).as<float>(), p.numel, static_cast<float>(p.init_mean));
    for (int i = 0; i < config.vocab_size; ++i)
      gpt.param("gpt_neox.embed_in.weight").as<float>()[i * config.d_model + i] = 1.0f;
  }
  // After `from`, `to` has this logit, and what is not mentioned about 0.
  void follow(TokenId from, TokenId to, double logit = 20.0) {
    gpt.param("embed_out.weight").as<float>()[to * config.d_model + from] =
        static_cast<float>(logit / std::sqrt(config.d_model - 1.0));
  }
};

struct GeneratorTest : testing::Test {
  const Sentinels& s = small_tokenizer().sentinels();
  const Ids prompt = {s.pre, byte_token('x'), s.suf, s.mid};

  static std::vector<Completion> run(const Chain& chain, const GenerationOptions& options,
                                     const Ids& prompt, uint64_t task = 0) {
    return Generator(chain.gpt, small_tokenizer(), options).complete(prompt, task);
  }
  static std::vector<std::string> texts(const std::vector<Completion>& completions) {
    std::vector<std::string> all;
    for (const Completion& c : completions) all.push_back(c.text);
    return all;
  }
};

TEST_F(GeneratorTest, StopsAtTheEod) {
  Chain chain;
  chain.follow(s.mid, byte_token('a'));
  chain.follow(byte_token('a'), byte_token('b'));
  chain.follow(byte_token('b'), s.eod);
  const auto done = run(chain, {.max_new_tokens = 10}, prompt);
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].text, "ab");
  EXPECT_EQ(done[0].tokens, (Ids{byte_token('a'), byte_token('b')}));
  EXPECT_TRUE(done[0].ended);
  // Three steps, each with all but nothing left to the other tokens; EOD counts as one.
  EXPECT_LT(done[0].mean_logprob, 0.0);
  EXPECT_GT(done[0].mean_logprob, -1e-3);

  const auto cut = run(chain, {.max_new_tokens = 2}, prompt);
  EXPECT_EQ(cut[0].text, "ab");
  EXPECT_FALSE(cut[0].ended);
  EXPECT_TRUE(run(chain, {.max_new_tokens = 3}, prompt)[0].ended);
}

TEST_F(GeneratorTest, AnEmptyMiddleIsACompletion) {
  Chain chain;
  chain.follow(s.mid, s.eod);
  const auto done = run(chain, {.max_new_tokens = 10}, prompt);
  EXPECT_EQ(done[0].text, "");
  EXPECT_TRUE(done[0].ended);
  EXPECT_GT(done[0].mean_logprob, -1e-3);
}

TEST_F(GeneratorTest, MeanLogprobIsTheModels) {
  Chain chain;
  chain.follow(s.mid, byte_token('a'), 12.0);
  chain.follow(s.mid, s.pad, 12.0);  // never chosen, but its probability counts
  chain.follow(byte_token('a'), s.eod, 30.0);
  const auto done = run(chain, {.max_new_tokens = 10}, prompt);
  EXPECT_EQ(done[0].text, "a");
  EXPECT_NEAR(done[0].mean_logprob, std::log(0.5) / 2, 2e-3);
}

TEST_F(GeneratorTest, SentinelsPaddingAndRowsWithoutATokenAreNeverChosen) {
  Chain chain(/*spare_rows=*/3);
  for (TokenId id : {s.pre, s.suf, s.mid, s.pad, chain.config.vocab_size - 1})
    chain.follow(s.mid, id, 30.0);
  chain.follow(s.mid, byte_token('a'), 10.0);
  chain.follow(byte_token('a'), s.eod);
  EXPECT_EQ(run(chain, {.max_new_tokens = 5}, prompt)[0].text, "a");
  for (const std::string& text : texts(run(
           chain, {.max_new_tokens = 5, .sampling = {.temperature = 1.0}, .samples = 20}, prompt)))
    EXPECT_EQ(text.find("<|"), std::string::npos) << text;
}

TEST_F(GeneratorTest, ResultsDoNotDependOnBatches) {
  Chain chain;
  for (char c = 'a'; c <= 'h'; ++c) {
    chain.follow(s.mid, byte_token(c), 10.0);
    for (char d = 'a'; d <= 'h'; ++d) chain.follow(byte_token(c), byte_token(d), 10.0);
    chain.follow(byte_token(c), s.eod, 10.5);  // sequences leave the batch at different steps
  }
  GenerationOptions options{
      .max_new_tokens = 30, .sampling = {.temperature = 1.0}, .samples = 12, .batch = 1};
  const auto alone = texts(run(chain, options, prompt, 3));
  EXPECT_GT(std::set<std::string>(alone.begin(), alone.end()).size(), 6u);
  for (int batch : {2, 5, 12}) {
    options.batch = batch;
    EXPECT_EQ(texts(run(chain, options, prompt, 3)), alone) << batch;
  }
  options.samples = 4;  // the first samples are those of a longer list
  EXPECT_EQ(texts(run(chain, options, prompt, 3)),
            std::vector<std::string>(alone.begin(), alone.begin() + 4));
  EXPECT_NE(texts(run(chain, options, prompt, 4)), texts(run(chain, options, prompt, 3)));
  options.sampling.seed = 99;
  EXPECT_NE(texts(run(chain, options, prompt, 3)),
            std::vector<std::string>(alone.begin(), alone.begin() + 4));
}

TEST_F(GeneratorTest, BestOfPrefersWhatEnded) {
  Chain chain;
  chain.follow(s.mid, byte_token('a'), 12.0);
  chain.follow(s.mid, byte_token('b'), 15.0);  // 20 times likelier, but it never ends
  chain.follow(byte_token('b'), byte_token('b'), 30.0);
  chain.follow(byte_token('a'), s.eod, 30.0);
  GenerationOptions options{
      .max_new_tokens = 6, .sampling = {.temperature = 1.0}, .samples = 3, .best_of = 100};
  for (const Completion& c : run(chain, options, prompt)) {
    EXPECT_EQ(c.text, "a");
    EXPECT_TRUE(c.ended);
  }
  options.best_of = 1;
  EXPECT_EQ(texts(run(chain, options, prompt)), (std::vector<std::string>(3, "bbbbbb")));
}

TEST(BestOf, EndedThenLikelierThenFirst) {
  const auto best = [](std::vector<std::pair<bool, double>> candidates) {
    std::vector<Completion> completions;
    for (auto [ended, mean] : candidates)
      completions.push_back({.tokens = {}, .text = {}, .ended = ended, .mean_logprob = mean});
    return best_of(completions);
  };
  EXPECT_EQ(best({{false, -0.1}, {true, -9.0}}), 1u);
  EXPECT_EQ(best({{true, -3.0}, {false, -0.1}, {true, -2.0}}), 2u);
  EXPECT_EQ(best({{false, -3.0}, {false, -1.0}, {false, -2.0}}), 1u);
  EXPECT_EQ(best({{true, -1.0}, {true, -1.0}}), 0u);
}

TEST_F(GeneratorTest, WrongOptionsAreRefused) {
  Chain chain;
  const auto error = [&](const GenerationOptions& options) {
    return error_of([&] { run(chain, options, prompt); });
  };
  EXPECT_EQ(error({.max_new_tokens = 64}),
            "max-new-tokens 64: expected 1 to 63, one less than the context");
  EXPECT_EQ(error({.max_new_tokens = 0}),
            "max-new-tokens 0: expected 1 to 63, one less than the context");
  EXPECT_EQ(error({.max_new_tokens = 8, .samples = 2}),
            "samples 2, best-of 1: greedy decoding gives the same completion each time, set a "
            "temperature above 0");
  EXPECT_EQ(error({.max_new_tokens = 8, .samples = 0}),
            "samples 0, best-of 1: expected at least 1 and less than 1048576 candidates");
  EXPECT_EQ(error({.max_new_tokens = 61}), "prompt of 4 tokens: expected 1 to 3");
  EXPECT_EQ(error({.max_new_tokens = 8, .batch = 0}), "batch 0: expected at least 1");
}

}  // namespace
}  // namespace midfill
