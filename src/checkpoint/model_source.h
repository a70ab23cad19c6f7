// What `--model` may name: a run directory of midfill or a Hugging Face GPTNeoX directory.
#pragma once

#include <filesystem>
#include <string>

#include "src/config/config.h"
#include "src/model/gpt.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Describes a model on disk; weights are read by load_weights() once a Gpt of `model` exists.
struct ModelSource {
  enum class Kind { run, hugging_face };
  Kind kind = Kind::run;
  std::filesystem::path directory;   // as given
  std::filesystem::path checkpoint;  // run: the newest checkpoint that verifies
  ModelConfig model;
  Tokenizer tokenizer;

  // Throws Error where the directory is neither.
  static ModelSource open(const std::filesystem::path& directory);
  void load_weights(Gpt& model) const;
};

}  // namespace midfill
