// Losses of a model on the frozen validation streams.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
  // Weighted mean loss; NaN where `tokens` is 0.
  double nats_per_token = 0.0;
  // Total loss in bits over `bytes`: comparable between tokenizers; NaN where that is 0.
  double bits_per_byte = 0.0;
};

// The two losses for people: "1.2345", or "none" where there is nothing that they are the mean of.
std::string nats_text(const EvalLoss& loss);
std::string bits_text(const EvalLoss& loss);

struct SourceLoss : EvalLoss {
  std::string source;
};

// With several sources the counts are their sums and the two losses their means, by the sources'
// weights in data.valid, over the sources that have one.
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
  // `max_batch` at once, which the model must allow. Nothing where `give_way`, which is asked
  // between batches, says so.
  std::vector<EvalResult> run(Gpt& model, int64_t samples, int64_t max_batch,
                              const std::function<bool()>& give_way = nullptr) const;

  // Of each source the tokens of its dataset and the samples of its streams.
  const std::vector<SourceInfo>& sources() const { return infos_; }

 private:
  // Nothing where it gave way.
  std::optional<EvalLoss> run_stream(Gpt& model, const SampleStream& stream, int64_t samples,
                                     int64_t max_batch,
                                     const std::function<bool()>& give_way) const;

  struct Stream {
    EvalStream kind;
    std::vector<std::unique_ptr<SampleStream>> of_source;
  };
  const Tokenizer* tokenizer_;
  std::vector<DataSource> sources_;
  std::vector<SourceInfo> infos_;
  std::vector<Stream> streams_;
};

}  // namespace midfill
