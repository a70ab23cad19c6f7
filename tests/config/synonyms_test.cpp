#include "src/config/synonyms.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <sstream>

#include "src/config/config.h"
#include "src/config/fields.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

std::string refusal(const std::string& json, const std::vector<std::string>& overrides = {}) {
  return test::error_of([&] { parse_config(json, "c.json", overrides); });
}

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  return {std::istream_iterator<std::string>(stream), {}};
}

std::string letters(std::string_view name) {
  std::string out;
  for (const unsigned char c : name)
    if (std::isalnum(c)) out += static_cast<char>(std::tolower(c));
  return out;
}

TEST(Synonyms, PointAtKeysThatExist) {
  std::set<std::string> keys;
  for (const Field& field : fields()) {
    keys.insert(field.name());
    if (!field.section.empty()) keys.insert(std::string(field.section));
  }
  for (const Synonym& synonym : synonyms()) {
    EXPECT_FALSE(words(synonym.keys).empty());
    EXPECT_FALSE(words(synonym.names).empty()) << synonym.keys;
    for (const std::string& key : words(synonym.keys)) EXPECT_TRUE(keys.contains(key)) << key;
  }
}

// Each name stands once, and none is one of ours, which mean what they say.
TEST(Synonyms, AreUniqueAndNoKeysThemselves) {
  std::set<std::string> seen;
  for (const Field& field : fields()) {
    seen.insert(letters(field.key));
    seen.insert(letters(field.section));
  }
  for (const Synonym& synonym : synonyms())
    for (const std::string& name : words(synonym.names))
      EXPECT_TRUE(seen.insert(letters(name)).second) << name;
}

TEST(Synonyms, AreFoundInAnySectionAndSpelling) {
  for (const Synonym& synonym : synonyms())
    for (const std::string& name : words(synonym.names)) {
      std::string kebab = name, camel;
      std::replace(kebab.begin(), kebab.end(), '_', '-');
      for (size_t i = 0; i < name.size(); ++i)
        if (name[i] != '_')
          camel += i > 0 && name[i - 1] == '_' ? static_cast<char>(std::toupper(name[i])) : name[i];
      for (const std::string& spelling :
           {name, kebab, camel, "optim." + name, "nope." + kebab, "optimizer.params." + camel})
        EXPECT_EQ(find_synonym(spelling), &synonym) << spelling;
    }
  for (const char* name : {"", ".", "optim", "optim.lr", "learning", "rate_learning"})
    EXPECT_EQ(find_synonym(name), nullptr) << name;
}

// What users of other trainers wrote, and where it should have sent them.
TEST(Synonyms, SendUsersOfOtherTrainersToTheRightKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"learning_rate", "optim.lr"},
      {"max_lr", "optim.lr"},
      {"min_lr", "optim.min_lr_ratio"},
      {"max_steps", "train.steps"},
      {"max_iters", "train.steps"},
      {"train_iters", "train.steps"},
      {"num_steps", "train.steps"},
      {"lr_decay_iters", "train.steps"},
      {"num_train_epochs", "train.steps"},
      {"hidden_size", "model.d_model"},
      {"n_embd", "model.d_model"},
      {"d_ffn", "model.d_ff"},
      {"intermediate_size", "model.d_ff"},
      {"num_layers", "model.n_layers"},
      {"n_layer", "model.n_layers"},
      {"num_attention_heads", "model.n_heads"},
      {"n_head", "model.n_heads"},
      {"seq_length", "model.n_ctx"},
      {"seq_len", "model.n_ctx"},
      {"block_size", "model.n_ctx"},
      {"context_length", "model.n_ctx"},
      {"max_position_embeddings", "model.n_ctx"},
      {"micro_batch_size", "train.micro_batch"},
      {"train_micro_batch_size_per_gpu", "train.micro_batch"},
      {"per_device_train_batch_size", "train.micro_batch"},
      {"batch_size", "train.batch_tokens"},
      {"global_batch_size", "train.batch_tokens"},
      {"gradient_accumulation_steps", "train.batch_tokens"},
      {"grad_clip", "optim.clip"},
      {"gradient_clipping", "optim.clip"},
      {"max_grad_norm", "optim.clip"},
      {"adam_beta1", "optim.beta1"},
      {"adam_eps", "optim.eps"},
      {"warmup_iters", "optim.warmup_steps"},
      {"warmup_ratio", "optim.warmup"},
      {"lr_decay_style", "optim.schedule"},
      {"lr_scheduler_type", "optim.schedule"},
      {"fim_rate", "fim.rate"},
      {"save_interval", "checkpoint.every"},
      {"save_every", "checkpoint.every"},
      {"save_steps", "checkpoint.every"},
      {"keep_last_n_checkpoints", "checkpoint.keep_last"},
      {"save_total_limit", "checkpoint.keep_last"},
      {"eval_interval", "eval.every"},
      {"eval_steps", "eval.every"},
      {"eval_iters", "eval.samples"},
      {"log_interval", "log.every"},
      {"logging_steps", "log.every"},
      {"vocab_file", "data.tokenizer"},
      {"tokenizer_path", "data.tokenizer"},
      {"train_data", "data.train"},
      {"data_path", "data.train"},
      {"val_data", "data.valid"},
      {"num_workers", "data.threads"},
      {"rope_theta", "model.rotary_base"},
      {"rotary_emb_base", "model.rotary_base"},
      {"bf16", "train.dtype"},
      {"fp16", "train.dtype"},
      {"precision", "train.dtype"},
      {"mixed_precision", "train.dtype"},
      {"activation_checkpointing", "train.recompute"},
      {"gradient_checkpointing", "train.recompute"},
      {"tie_word_embeddings", "model.tied_embeddings"},
      {"no_weight_tying", "model.tied_embeddings"},
      {"layernorm_epsilon", "model.layer_norm_eps"},
      {"norm_eps", "model.layer_norm_eps"},
      {"checkpoint.interval", "checkpoint.every"},  // torchtitan
      {"eval.interval", "eval.every"},
      {"lr_scheduler.decay_type", "optim.schedule"},
      {"gradient_clipping.clipping_threshold", "optim.clip"},  // llm-foundry
  };
  for (const auto& [name, key] : cases) {
    const std::string sent = fmt::format("the key for this is \"{}\"", key);
    EXPECT_NE(refusal("{}", {fmt::format("{}=1", name)}).find(sent), std::string::npos) << name;
    EXPECT_NE(refusal(fmt::format(R"({{"{}": 1}})", name)).find(sent), std::string::npos) << name;
    EXPECT_NE(refusal(fmt::format(R"({{"train": {{"{}": 1}}}})", name)).find(sent),
              std::string::npos)
        << name;
  }
  // A valid key in another section.
  EXPECT_EQ(refusal(R"({"train": {"weight_decay": 1}})"),
            "c.json: unknown key \"train.weight_decay\"; the nearest valid key is "
            "\"optim.weight_decay\"");
}

TEST(Synonyms, SayWhatDiffersBesideTheName) {
  EXPECT_EQ(refusal(R"({"optim": {"learning_rate": 1}})"),
            "c.json: unknown key \"optim.learning_rate\"; the key for this is \"optim.lr\"");
  EXPECT_EQ(
      refusal("{}", {"train.batchSize=8"}),
      "--set: unknown key \"train.batchSize\"; the key for this is \"train.batch_tokens\": in "
      "tokens: samples times model.n_ctx");
  EXPECT_EQ(refusal("{}", {"warmup-samples=8"}),
            "--set: unknown key \"warmup-samples\"; the key for this is \"optim.warmup_steps\": in "
            "steps");
  EXPECT_EQ(refusal(R"({"optim": {"betas": [0.9, 0.95]}})"),
            "c.json: unknown key \"optim.betas\"; the keys for this are \"optim.beta1\", "
            "\"optim.beta2\"");
  EXPECT_EQ(
      refusal(R"({"fim_spm_rate": 0.5})"),
      "c.json: unknown key \"fim_spm_rate\"; the keys for this are \"fim.psm\", \"fim.spm1\", "
      "\"fim.spm2\": weights of the modes");
  EXPECT_EQ(refusal(R"({"optimizer": {"lr": 1}})"),
            "c.json: unknown key \"optimizer\"; the section for this is \"optim\"");
}

}  // namespace
}  // namespace midfill
