// Streams of samples. A sample is a pure function of (config, index): any order, any thread, any
// restart.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/config/config.h"
#include "src/data/indexed_dataset.h"
#include "src/data/sample.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

class SampleStream {
 public:
  virtual ~SampleStream() = default;
  // Samples in the stream; training streams have no end (INT64_MAX).
  virtual int64_t size() const = 0;
  // A sample has n_ctx + 1 tokens.
  virtual int n_ctx() const = 0;
  // Fills `sample` (its vectors are reused). Safe to call from several threads. Throws Error on
  // corrupt data.
  virtual void get(int64_t index, Sample& sample) const = 0;
};

// Training on one dataset: sample `index` is the (index mod n)-th of epoch index / n under a keyed
// permutation, FIM as configured. The tokenizer must outlive the stream.
std::unique_ptr<SampleStream> training_stream(const Config& config, const Tokenizer& tokenizer,
                                              std::shared_ptr<const IndexedDataset> dataset);

// What a training stream takes samples from.
struct SourceInfo {
  std::string name, path;  // as in the configuration
  double share = 1.0;      // of the samples, exactly
  int64_t tokens = 0;      // of the dataset
  int64_t samples = 0;     // of an epoch of it
  // Where no end of a document was found: how many tokens were looked at; else 0.
  int64_t without_eod = 0;
};

// The samples of several sources, dealt by weight (src/data/blend.h). Each source goes through
// epochs of its own with random numbers of its own: its samples depend on its place in the list,
// not on weights or on what other sources there are. The first has those of training_stream().
class BlendedStream : public SampleStream {
 public:
  virtual const std::vector<SourceInfo>& sources() const = 0;
};

// The training stream of a configuration: opens what `data.train` names and checks its ids against
// the tokenizer. Throws Error where a dataset is missing, damaged or too small for one sample.
std::unique_ptr<BlendedStream> open_training_stream(const Config& config,
                                                    const Tokenizer& tokenizer);

// Validation: frozen, whatever the training configuration of FIM.
enum class EvalStream : uint8_t {
  // Plain text.
  ar,
  // Every segment transformed, loss on all tokens.
  fim_psm,
  fim_spm1,
  fim_spm2,
  // The same samples, loss on the middles' tokens only (EOD not among them): -log P(m | p, s).
  middle_psm,
  middle_spm1,
  middle_spm2,
  // The same middles, the same ids, in reading order (prefix middle suffix): -log P(m | p).
  middle_ar,
};
std::string_view name_of(EvalStream stream);  // "ar", "fim_psm", ..., "middle_ar"
std::unique_ptr<SampleStream> eval_stream(EvalStream kind, const Config& config,
                                          const Tokenizer& tokenizer,
                                          std::shared_ptr<const IndexedDataset> dataset);

}  // namespace midfill
