// A model as one file for llama.cpp and what is built on it (llama-server, ollama).
// Source: llama.cpp, src/models/gptneox.cpp, src/llama-model.cpp (architecture gptneox).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/checkpoint/gguf.h"
#include "src/config/config.h"
#include "src/model/gpt.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct GgufOptions {
  GgufDtype dtype = GgufDtype::f32;  // of matrices; norms and biases are f32 always
  std::filesystem::path run;         // its name is the model's; named in errors
  FimConfig fim;                     // what the model was trained on
};

// MODEL.gguf.Modelfile, with which `ollama create` takes MODEL.gguf.
std::filesystem::path modelfile_path(const std::filesystem::path& file);

// Writes `file` and its Modelfile; refuses where one of them is there. Neither is seen before it is
// complete. Returns what a user of the file should know, a line each. Throws Error where llama.cpp
// would compute something else (the exact GELU, gguf_vocabulary()), cannot load it, or a weight is
// not finite in `dtype`.
//
// The rows of attention.query_key_value, per head q, k and v here, become all q, all k, all v. A
// tied head is written twice: the architecture demands output.weight. Rows that vocab_multiple
// added are left out.
std::vector<std::string> export_gguf(const std::filesystem::path& file, const Gpt& model,
                                     const Tokenizer& tokenizer, const GgufOptions& options);

}  // namespace midfill
