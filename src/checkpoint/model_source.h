// What `--model` may name: a run directory of midfill or a Hugging Face GPTNeoX directory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/config/config.h"
#include "src/model/gpt.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// A model's weights on disk, described; load_weights() reads them once a Gpt of `model` exists.
struct WeightsSource {
  enum class Kind { run, hugging_face };
  Kind kind = Kind::run;
  std::filesystem::path directory;       // as given
  std::filesystem::path checkpoint;      // run: the newest checkpoint that verifies
  std::vector<std::string> passed_over;  // run: newer checkpoints that do not, with the reasons
  ModelConfig model;
  DType dtype = DType::f32;  // run: train.dtype
  std::string eod;           // run: data.eod

  // Throws Error where the directory is neither, or a run without a checkpoint.
  static WeightsSource open(const std::filesystem::path& directory);
  // Throws Error where the files do not hold a model of `gpt.config()`. The process that trains a
  // run may prune `checkpoint` before it is read: then it becomes the newest that is there now.
  void load_weights(Gpt& gpt);
  // directory / "tokenizer.json"
  std::filesystem::path tokenizer_path() const;
};

// The same with the tokenizer, for all who read or write text.
//
// A Hugging Face model keeps its own vocabulary: `model.vocab_size` rows, of which the tokenizer
// may fill fewer (Pythia: 50304 rows, 50277 tokens), so ids that stand for nothing can have
// probability; or more, as FIM sentinels are appended to a tokenizer that lacks them: those ids are
// unknown to the model until `midfill import --add-sentinels` makes rows for them.
struct ModelSource : WeightsSource {
  Tokenizer tokenizer;

  static ModelSource open(const std::filesystem::path& directory);
  // Throws Error unless the model has a row for every id of the tokenizer; for those who use the
  // sentinels.
  void require_rows_for_tokenizer() const;
};

}  // namespace midfill
