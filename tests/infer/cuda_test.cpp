// Decoding on the device `cuda` against the CPU.
#include <algorithm>
#include <cmath>

#include "src/infer/generator.h"
#include "src/infer/infill.h"
#include "tests/data/data_test_support.h"
#include "tests/model/reference_model.h"

namespace midfill {
namespace {

using test::small_tokenizer;
using Ids = std::vector<TokenId>;

ModelConfig small_model() {
  return {.n_layers = 2,
          .d_model = 64,
          .n_heads = 2,
          .d_ff = 128,
          .n_ctx = 96,
          .vocab_size = small_tokenizer().vocab_size(),
          .vocab_multiple = 64,
          .rotary_pct = 0.5};
}

struct Loaded {
  Device device;
  Gpt gpt;
  Loaded(const char* name, DType dtype)
      : device(name, 1),
        gpt(small_model(), {.max_batch = 1, .training = false, .head_chunk = 1, .dtype = dtype},
            device) {
    test::randomize(gpt, 9);
  }
};

Ids hole() {
  const Sentinels& s = small_tokenizer().sentinels();
  Ids prompt = {s.suf};
  for (TokenId id : small_tokenizer().encode("    return total\n")) prompt.push_back(id);
  prompt.push_back(s.pre);
  for (TokenId id : small_tokenizer().encode("def add(a, b):\n    total = ")) prompt.push_back(id);
  prompt.push_back(s.mid);
  return prompt;
}

TEST(CudaInfill, GreedyTextIsTheCpus) {
  const GenerationOptions options{.max_new_tokens = 24};
  const Loaded cpu("cpu", DType::f32), cuda("cuda", DType::f32);
  const auto expected = Generator(cpu.gpt, small_tokenizer(), options).complete(hole());
  const auto found = Generator(cuda.gpt, small_tokenizer(), options).complete(hole());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].text, expected[0].text);
  EXPECT_EQ(found[0].tokens, expected[0].tokens);
  EXPECT_GT(found[0].tokens.size(), 3u);
  EXPECT_TRUE(std::abs(found[0].mean_logprob - expected[0].mean_logprob) <= 1e-5);
}

// Sequences that share a prompt, part, and end at different times.
TEST(CudaInfill, SampledTextsAreTheCpus) {
  const GenerationOptions options{.max_new_tokens = 12,
                                  .sampling = {.temperature = 0.7, .top_p = 0.9, .seed = 4},
                                  .samples = 5,
                                  .batch = 3};
  const Loaded cpu("cpu", DType::f32), cuda("cuda", DType::f32);
  const auto expected = Generator(cpu.gpt, small_tokenizer(), options).complete(hole());
  const auto found = Generator(cuda.gpt, small_tokenizer(), options).complete(hole());
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].text, expected[i].text) << i;
}

// bf16: what the cache gives is what the whole sequence at once gives, up to their roundings.
TEST(CudaDecoder, InBf16LogitsAreThoseOfTheWholeSequence) {
  const Loaded exact("cpu", DType::f32), cuda("cuda", DType::bf16);
  const Ids ids = hole();
  const auto logits_of = [&](const Gpt& gpt, size_t first) {
    Decoder decoder(gpt, 2);
    auto logits = decoder.append(std::span(ids).first(first));
    for (size_t t = first; t < ids.size(); ++t)
      logits = decoder.append(std::span(ids).subspan(t, 1));
    return std::vector<float>(logits.begin(), logits.end());
  };
  const auto expected = logits_of(exact.gpt, ids.size());
  double scale = 0;
  for (const float x : expected) scale = std::max(scale, std::abs(double{x}));
  for (const size_t first : {ids.size(), size_t{5}}) {
    const auto found = logits_of(cuda.gpt, first);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_TRUE(std::abs(found[i] - expected[i]) <= 0.05 * scale) << i << " of " << first;
  }
}

}  // namespace
}  // namespace midfill
