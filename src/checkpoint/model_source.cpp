#include "src/checkpoint/model_source.h"

#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/hugging_face.h"
#include "src/checkpoint/run_directory.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

void take_newest(WeightsSource& source) {
  auto found = find_checkpoint(source.directory);
  require(found.has_value(), "{}: the run has no checkpoint yet", source.directory.string());
  source.checkpoint = std::move(found->path);
  source.passed_over = std::move(found->passed_over);
}

WeightsSource open_run(const fs::path& directory) {
  const Config config = read_run_config(directory);
  WeightsSource source{.kind = WeightsSource::Kind::run,
                       .directory = directory,
                       .checkpoint = {},
                       .passed_over = {},
                       .model = config.model,
                       .dtype = config.train.dtype,
                       .eod = config.data.eod};
  take_newest(source);
  if (source.model.vocab_size == 0)
    source.model.vocab_size = Tokenizer::load(source.tokenizer_path(), source.eod).vocab_size();
  return source;
}

}  // namespace

WeightsSource WeightsSource::open(const fs::path& directory) {
  std::error_code ignored;
  require(fs::is_directory(directory, ignored), "{}: no such directory", directory.string());
  if (is_hf_directory(directory))
    return {.kind = Kind::hugging_face,
            .directory = directory,
            .checkpoint = {},
            .passed_over = {},
            .model = read_hf_config(directory),
            .dtype = DType::f32,
            .eod = {}};
  require(is_run(directory),
          "{}: neither a run (config.json, step_*/) nor a Hugging Face directory (config.json, "
          "model.safetensors)",
          directory.string());
  return open_run(directory);
}

void WeightsSource::load_weights(Gpt& gpt) {
  if (kind == Kind::hugging_face) return load_hf_weights(directory, gpt);
  constexpr int kAttempts = 100;  // each of them means that the run has saved meanwhile
  for (int attempt = 1;; ++attempt) {
    try {
      load_checkpoint(checkpoint, gpt, nullptr);
      return;
    } catch (const Error&) {
      std::error_code ignored;
      if (attempt == kAttempts || fs::exists(checkpoint, ignored)) throw;
    }
    take_newest(*this);
  }
}

fs::path WeightsSource::tokenizer_path() const {
  return directory / "tokenizer.json";
}

ModelSource ModelSource::open(const fs::path& directory) {
  WeightsSource weights = WeightsSource::open(directory);
  Tokenizer tokenizer = weights.kind == Kind::hugging_face
                            ? load_hf_tokenizer(directory)
                            : Tokenizer::load(weights.tokenizer_path(), weights.eod);
  return {std::move(weights), std::move(tokenizer)};
}

void ModelSource::require_rows_for_tokenizer() const {
  require(tokenizer.vocab_size() <= model.vocab_size,
          "{}: the tokenizer has {} ids, FIM sentinels included, and the model rows for {}; "
          "`midfill import --add-sentinels` adds rows",
          directory.string(), tokenizer.vocab_size(), model.vocab_size);
}

}  // namespace midfill
