// Hugging Face GPTNeoXForCausalLM directories, in and out.
// Source: transformers, models/gpt_neox/configuration_gpt_neox.py and modeling_gpt_neox.py.
#pragma once

#include <filesystem>

#include "src/config/config.h"
#include "src/model/gpt.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Whether config.json stands beside weights of a Hugging Face model.
bool is_hf_directory(const std::filesystem::path& directory);

// tokenizer.json. Where it lacks <|endoftext|>, the `eos_token` of tokenizer_config.json ends
// documents.
Tokenizer load_hf_tokenizer(const std::filesystem::path& directory);

// Reads config.json. vocab_size is the number of rows of the embedding, whatever the tokenizer
// holds: each row takes part in the softmax, as in transformers. Refuses what the model cannot do
// (another architecture, attention without biases, scaled rotary positions, other activations) with
// the key, what was found and what was expected. Dropout is ignored: it has no part in inference.
ModelConfig read_hf_config(const std::filesystem::path& directory);

// Reads model.safetensors, or the shards of model.safetensors.index.json; F32, F64, F16, BF16. Old
// buffers (attention.bias, attention.masked_bias, rotary_emb.inv_freq) are ignored; any other
// unknown or missing tensor, another shape or a value that is not finite is an error.
// `model` may have more vocabulary rows than the directory: they are filled by add_rows' rule
// below.
void load_hf_weights(const std::filesystem::path& directory, Gpt& model);

// The rows [rows, vocab_size) of a (Vp,C) matrix whose first `rows` are known: their mean, plus
// N(0, 0.02) so that new tokens differ. A logit near the mean of the others' cannot take over the
// softmax (Hewitt, "Initializing new word embeddings for pretrained language models", 2021).
void add_rows(const Tensor& matrix, int64_t rows, int64_t vocab_size, uint64_t key);

// Writes config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
// special_tokens_map.json and generation_config.json into a new directory (refuses an existing one
// that is not empty; the directory appears complete or not at all). Padded vocabulary rows are left
// out: transformers would give them a share of the softmax, which midfill does not.
void export_hf(const std::filesystem::path& directory, const Gpt& model,
               const Tokenizer& tokenizer);

}  // namespace midfill
