// Losses of a model on the frozen validation streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/config/config.h"
#include "src/data/loader.h"
#include "src/data/sample_stream.h"
#include "src/model/gpt.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Rows [begin, begin + rows) of a loaded batch, as the model takes them.
Batch rows_of(const SampleBatch& batch, int64_t begin, int64_t rows);

struct EvalLoss {
  int64_t samples = 0;
  int64_t tokens = 0;  // with a weight above 0
  int64_t bytes = 0;   // of text that those tokens stand for; sentinels and EOD stand for none
  // Weighted mean loss; NaN where the stream has no such token.
  double nats_per_token = 0.0;
  // Total loss in bits over `bytes`: comparable between tokenizers.
  double bits_per_byte = 0.0;
};

struct SourceLoss : EvalLoss {
  std::string source;
};

// With several sources the counts are their sums and the two losses their means by the sources'
// weights in data.valid.
struct EvalResult : EvalLoss {
  EvalStream stream = EvalStream::ar;
  std::vector<SourceLoss> sources;  // empty where there is one
};

// AR; where modes are given FIM and middle-only in each of them; and the same middles without
// suffix.
std::vector<EvalStream> streams_for(bool psm, bool spm1, bool spm2);
// Those of the modes that `fim` trains.
std::vector<EvalStream> streams_for(const FimConfig& fim);

class Evaluator {
 public:
  // Opens the datasets of `config.data.valid`; the tokenizer must outlive the evaluator.
  Evaluator(const Config& config, const Tokenizer& tokenizer, const std::vector<EvalStream>& kinds);

  // The first `samples` samples of each stream of each source (all, where it has fewer),
  // `max_batch` at once, which the model must allow.
  std::vector<EvalResult> run(Gpt& model, int64_t samples, int64_t max_batch) const;

 private:
  EvalLoss run_stream(Gpt& model, const SampleStream& stream, int64_t samples,
                      int64_t max_batch) const;

  struct Stream {
    EvalStream kind;
    std::vector<std::unique_ptr<SampleStream>> of_source;
  };
  const Tokenizer* tokenizer_;
  std::vector<DataSource> sources_;
  std::vector<Stream> streams_;
};

}  // namespace midfill
