#include "src/model/parameters.h"

#include <cmath>

#include "kernels/common/device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;

ModelConfig fim_1_3b(int vocab, int multiple = 1, bool tied = false) {
  return {.n_layers = 24,
          .d_model = 2048,
          .n_heads = 16,
          .d_ff = 8192,
          .n_ctx = 2048,
          .vocab_size = vocab,
          .vocab_multiple = multiple,
          .tied_embeddings = tied};
}

ModelConfig tiny() {
  return {.n_layers = 2, .d_model = 12, .n_heads = 3, .d_ff = 20, .n_ctx = 8, .vocab_size = 11};
}

TEST(ParameterTable, CountsOfTheReferenceModel) {
  const struct {
    int vocab, multiple;
    int64_t tied, untied;
  } cases[] = {{50254, 1, 1'311'522'816, 1'414'443'008},
               {50277, 1, 1'311'569'920, 1'414'537'216},
               {50280, 1, 1'311'576'064, 1'414'549'504},
               {50280, 64, 1'311'625'216, 1'414'647'808},
               {50280, 256, 1'311'887'360, 1'415'172'096}};
  for (const auto& c : cases) {
    EXPECT_EQ(ParameterTable(fim_1_3b(c.vocab, c.multiple, true)).count(), c.tied) << c.vocab;
    EXPECT_EQ(ParameterTable(fim_1_3b(c.vocab, c.multiple, false)).count(), c.untied) << c.vocab;
  }
}

TEST(ParameterTable, MatmulParametersAndFlops) {
  // 24 blocks of 12 d^2 and the head.
  const int64_t matmul = int64_t{24} * 12 * 2048 * 2048 + int64_t{50280} * 2048;
  EXPECT_EQ(ParameterTable(fim_1_3b(50280)).matmul_count(), matmul);
  EXPECT_EQ(ParameterTable(fim_1_3b(50280, 1, true)).matmul_count(), matmul);
  const FlopsPerToken flops = flops_per_token(fim_1_3b(50280));
  const double attention = 24.0 * 2048 * 2048;
  EXPECT_EQ(flops.causal, 6.0 * static_cast<double>(matmul) + 6.0 * attention);
  EXPECT_EQ(flops.full, 6.0 * static_cast<double>(matmul) + 12.0 * attention);
}

TEST(ParameterTable, NamesShapesAndOrderAreThoseOfHuggingFace) {
  ModelConfig config = tiny();
  config.n_layers = 1;
  config.vocab_multiple = 8;
  const std::vector<std::pair<std::string, std::vector<int64_t>>> expected = {
      {"gpt_neox.embed_in.weight", {16, 12}},
      {"gpt_neox.layers.0.input_layernorm.weight", {12}},
      {"gpt_neox.layers.0.input_layernorm.bias", {12}},
      {"gpt_neox.layers.0.attention.query_key_value.weight", {36, 12}},
      {"gpt_neox.layers.0.attention.query_key_value.bias", {36}},
      {"gpt_neox.layers.0.attention.dense.weight", {12, 12}},
      {"gpt_neox.layers.0.attention.dense.bias", {12}},
      {"gpt_neox.layers.0.post_attention_layernorm.weight", {12}},
      {"gpt_neox.layers.0.post_attention_layernorm.bias", {12}},
      {"gpt_neox.layers.0.mlp.dense_h_to_4h.weight", {20, 12}},
      {"gpt_neox.layers.0.mlp.dense_h_to_4h.bias", {20}},
      {"gpt_neox.layers.0.mlp.dense_4h_to_h.weight", {12, 20}},
      {"gpt_neox.layers.0.mlp.dense_4h_to_h.bias", {12}},
      {"gpt_neox.final_layer_norm.weight", {12}},
      {"gpt_neox.final_layer_norm.bias", {12}},
      {"embed_out.weight", {16, 12}}};
  const ParameterTable table(config);
  ASSERT_EQ(table.all().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(table.all()[i].name, expected[i].first);
    EXPECT_EQ(table.all()[i].shape, expected[i].second) << expected[i].first;
  }
  config.tied_embeddings = true;
  EXPECT_EQ(ParameterTable(config).all().back().name, "gpt_neox.final_layer_norm.bias");
}

TEST(ParameterTable, ArenaIsAlignedAndWithoutOverlap) {
  const ParameterTable table(tiny());
  int64_t end = 0;
  for (const Parameter& p : table.all()) {
    EXPECT_EQ(p.offset % 64, 0) << p.name;
    EXPECT_GE(p.offset, end) << p.name;
    EXPECT_LT(p.offset - end, 64) << p.name;
    end = p.offset + p.numel;
  }
  EXPECT_GE(table.arena_numel(), end);
}

TEST(ParameterTable, MatricesAreDecayedAndNothingElse) {
  const ParameterTable table(tiny());
  size_t decayed = 0;
  for (const Parameter& p : table.all()) {
    EXPECT_EQ(p.decayed, p.shape.size() == 2) << p.name;
    decayed += p.decayed;
  }
  EXPECT_EQ(decayed, 2 + 2 * 4u);
  // Every parameter has its span: elements outside all spans are not updated.
  const auto spans = table.decay_spans(0.1f);
  ASSERT_EQ(spans.size(), table.all().size());
  for (size_t i = 0; i < spans.size(); ++i) {
    const Parameter& p = table.all()[i];
    EXPECT_EQ(spans[i].begin, p.offset) << p.name;
    EXPECT_EQ(spans[i].end, p.offset + p.numel) << p.name;
    EXPECT_EQ(spans[i].weight_decay, p.decayed ? 0.1f : 0.0f) << p.name;
  }
}

TEST(ParameterTable, RefusesImpossibleShapes) {
  const auto with = [](auto change) {
    ModelConfig config = tiny();
    change(config);
    return error_of([&] { ParameterTable table(config); });
  };
  EXPECT_EQ(with([](ModelConfig& c) { c.n_heads = 5; }),
            "model.n_heads 5 does not divide model.d_model 12");
  EXPECT_EQ(with([](ModelConfig& c) { c.vocab_size = 0; }),
            "model.vocab_size: expected a positive number, found 0");
  EXPECT_EQ(with([](ModelConfig& c) { c.n_layers = -1; }),
            "model.n_layers: expected a positive number, found -1");
  EXPECT_EQ(with([](ModelConfig& c) { c.rotary_pct = 1.5; }),
            "model.rotary_pct: expected a number from 0 to 1, found 1.5");
  EXPECT_EQ(error_of([] { ParameterTable(tiny()).at("embed_in"); }),
            "the model has no parameter named embed_in");
}

struct Moments {
  double mean = 0, deviation = 0, kurtosis = 0;
};

Moments moments(const Parameter& p, const std::vector<float>& arena, int64_t numel) {
  Moments m;
  const double n = static_cast<double>(numel);
  for (int64_t i = 0; i < numel; ++i) m.mean += arena[p.offset + i] / n;
  double fourth = 0;
  for (int64_t i = 0; i < numel; ++i) {
    const double d = arena[p.offset + i] - m.mean;
    m.deviation += d * d / n;
    fourth += d * d * d * d / n;
  }
  m.kurtosis = fourth / (m.deviation * m.deviation);
  m.deviation = std::sqrt(m.deviation);
  return m;
}

std::vector<float> initialized(const ModelConfig& config, uint64_t seed) {
  const ParameterTable table(config);
  std::vector<float> arena(table.arena_numel(), NAN);
  init_parameters(Device("cpu").cpu(), table, config, seed,
                  Tensor::of(arena.data(), {table.arena_numel()}));
  return arena;
}

TEST(Init, DeviationsOfBothRules) {
  ModelConfig config{
      .n_layers = 3, .d_model = 128, .n_heads = 2, .d_ff = 512, .n_ctx = 8, .vocab_size = 300};
  for (const Init rule : {Init::normal, Init::neox}) {
    config.init = rule;
    const double small = std::sqrt(2.0 / (5.0 * 128)), wang = 2.0 / (3 * std::sqrt(128.0));
    const ParameterTable table(config);
    const auto arena = initialized(config, 7);
    for (const Parameter& p : table.all()) {
      if (p.shape.size() == 1) {
        const float expected = p.name.ends_with("norm.weight") ? 1.0f : 0.0f;
        for (int64_t i = 0; i < p.numel; ++i) ASSERT_EQ(arena[p.offset + i], expected) << p.name;
        continue;
      }
      const bool output = p.name.ends_with("dense.weight") || p.name.ends_with("4h_to_h.weight");
      const double std = rule == Init::normal ? 0.02 : output ? wang : small;
      const Moments m = moments(p, arena, p.numel);
      const double n = static_cast<double>(p.numel);  // five standard errors
      EXPECT_NEAR(m.mean, 0.0, 5 * std / std::sqrt(n)) << p.name;
      EXPECT_NEAR(m.deviation, std, 5 * std / std::sqrt(2 * n)) << p.name;
      EXPECT_NEAR(m.kurtosis, 3.0, 5 * std::sqrt(24 / n)) << p.name;
    }
  }
}

TEST(Init, PaddedVocabularyIsZeroAndChangesNothingElse) {
  ModelConfig config = tiny(), padded = tiny();
  padded.vocab_multiple = 8;  // 11 -> 16 rows
  const ParameterTable table(config), padded_table(padded);
  const auto arena = initialized(config, 3), padded_arena = initialized(padded, 3);
  for (size_t i = 0; i < table.all().size(); ++i) {
    const Parameter &p = table.all()[i], &q = padded_table.all()[i];
    for (int64_t j = 0; j < q.numel; ++j)
      ASSERT_EQ(padded_arena[q.offset + j], j < p.numel ? arena[p.offset + j] : 0.0f)
          << p.name << " " << j;
  }
}

TEST(Init, IsAFunctionOfSeedParameterAndElementWhateverTheThreads) {
  ModelConfig config = tiny();
  config.d_ff = 5000;  // several random streams in one parameter
  Cpu one(1);
  const auto a = initialized(config, 3);
  Cpu three(3);
  const auto b = initialized(config, 3), other = initialized(config, 4);
  const ParameterTable table(config);
  for (const Parameter& p : table.all()) {
    int64_t equal = 0;
    for (int64_t i = 0; i < p.numel; ++i) {
      ASSERT_EQ(a[p.offset + i], b[p.offset + i]) << p.name;
      equal += a[p.offset + i] == other[p.offset + i];
    }
    if (p.decayed) {
      EXPECT_LT(equal, p.numel / 50) << p.name << ": another seed, the same weights";
    }
  }
  // Two parameters of one shape, and two streams of one parameter, differ.
  const Parameter& first = table.at("gpt_neox.layers.0.mlp.dense_h_to_4h.weight");
  const Parameter& second = table.at("gpt_neox.layers.1.mlp.dense_h_to_4h.weight");
  EXPECT_NE(a[first.offset], a[second.offset]);
  EXPECT_NE(a[first.offset], a[first.offset + 4096]);
}

}  // namespace
}  // namespace midfill
