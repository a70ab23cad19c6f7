// Hugging Face GPTNeoXForCausalLM directories, in and out.
#pragma once

#include <filesystem>

#include "src/config/config.h"
#include "src/model/gpt.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Reads config.json. Refuses what the model cannot do (attention biases off, scaling of rotary
// positions, another architecture) with the key and both values.
ModelConfig read_hf_config(const std::filesystem::path& directory);

// Reads model.safetensors, or the shards of model.safetensors.index.json. Old buffers
// (attention.bias, masked_bias, rotary_emb.inv_freq) are ignored; any other unknown or missing
// tensor is an error.
void load_hf_weights(const std::filesystem::path& directory, Gpt& model);

// Writes config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
// special_tokens_map.json and generation_config.json into a new directory (refuses an existing one
// that is not empty).
void export_hf(const std::filesystem::path& directory, const Gpt& model,
               const Tokenizer& tokenizer);

}  // namespace midfill
