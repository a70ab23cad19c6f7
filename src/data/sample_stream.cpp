#include "src/data/sample_stream.h"

#include <optional>
#include <vector>

#include "kernels/common/check.h"
#include "src/data/blend.h"
#include "src/data/document_ends.h"
#include "src/data/document_fim.h"
#include "src/data/fim.h"
#include "src/data/packed_tokens.h"
#include "src/data/permutation.h"

namespace midfill {

namespace {

// Epochs of random streams have 16 bits. A run longer than that (a tiny dataset) goes on under
// another seed.
constexpr int64_t kEpochsPerSeed = 1 << 16;

uint64_t seed_of_epoch(uint64_t seed, int64_t epoch) {
  const auto era = static_cast<uint64_t>(epoch / kEpochsPerSeed);
  constexpr uint64_t kApart = ~uint32_t{0};  // no round of the permutation uses this segment
  return era == 0 ? seed : Rng(seed, Purpose::kSampleOrder, 0, era, kApart).bits64();
}

class DatasetStream final : public SampleStream {
 public:
  DatasetStream(uint64_t seed, const Config& config, const Tokenizer& tokenizer,
                std::shared_ptr<const IndexedDataset> dataset)
      : seed_(seed),
        packed_(std::make_shared<PackedTokens>(std::move(dataset), config.model.n_ctx,
                                               tokenizer.vocab_size())),
        context_(config.fim, tokenizer) {
    if (config.fim.level == FimLevel::document) document_.emplace(config.fim, tokenizer, packed_);
  }

  int64_t size() const override { return INT64_MAX; }
  int n_ctx() const override { return packed_->n_ctx(); }
  const PackedTokens& packed() const { return *packed_; }

  void get(int64_t index, Sample& sample) const override {
    require(index >= 0, "there is no sample {}", index);
    const int64_t n = packed_->n_samples(), epoch = index / n;
    const uint64_t seed = seed_of_epoch(seed_, epoch);
    const auto key_epoch = static_cast<uint64_t>(epoch % kEpochsPerSeed);
    const uint64_t k = Permutation(seed, Purpose::kSampleOrder, key_epoch,
                                   static_cast<uint64_t>(n))(static_cast<uint64_t>(index % n));
    if (document_) {
      document_->get(seed, key_epoch, static_cast<int64_t>(k), sample);
    } else {
      thread_local std::vector<TokenId> tokens;
      packed_->read_sample(static_cast<int64_t>(k), tokens);
      context_.apply(tokens, {seed, Purpose::kFim, key_epoch, k}, sample);
    }
    sample.weights[0] = 0.0f;
    sample.index = index;
    sample.source = 0;
  }

 private:
  uint64_t seed_;
  std::shared_ptr<const PackedTokens> packed_;
  FimTransform context_;
  std::optional<DocumentFim> document_;
};

uint64_t seed_of_source(uint64_t seed, size_t source) {
  return source == 0 ? seed : Rng(seed, Purpose::kSource, 0, source).bits64();
}

Blend blend_of(const std::vector<DataSource>& sources) {
  require(!sources.empty(),
          "data.train is empty, expected the prefix of a dataset (.bin and .idx)");
  std::vector<double> weights;
  for (const DataSource& source : sources) weights.push_back(source.weight);
  try {
    return Blend(weights);
  } catch (const Error& error) {
    fail("data.train: {}", error.what());
  }
}

class Blended final : public BlendedStream {
 public:
  Blended(const Config& config, const Tokenizer& tokenizer) : blend_(blend_of(config.data.train)) {
    for (size_t d = 0; d < config.data.train.size(); ++d) {
      const DataSource& source = config.data.train[d];
      auto stream = std::make_unique<DatasetStream>(
          seed_of_source(config.seed, d), config, tokenizer,
          std::make_shared<const IndexedDataset>(
              IndexedDataset::open(source.path, tokenizer.vocab_size())));
      sources_.push_back(
          {.name = source.name,
           .path = source.path,
           .share = static_cast<double>(blend_.count(d)) / static_cast<double>(Blend::kCycle),
           .tokens = stream->packed().dataset().n_tokens(),
           .samples = stream->packed().n_samples(),
           .without_eod =
               looked_at_without_eod(stream->packed().dataset(), tokenizer.sentinels().eod)});
      streams_.push_back(std::move(stream));
    }
  }

  int64_t size() const override { return INT64_MAX; }
  int n_ctx() const override { return streams_[0]->n_ctx(); }
  const std::vector<SourceInfo>& sources() const override { return sources_; }

  void get(int64_t index, Sample& sample) const override {
    require(index >= 0, "there is no sample {}", index);
    const Blend::Place place = blend_(index);
    streams_[place.source]->get(place.index, sample);
    sample.index = index;
    sample.source = place.source;
  }

 private:
  Blend blend_;
  std::vector<std::unique_ptr<DatasetStream>> streams_;
  std::vector<SourceInfo> sources_;
};

}  // namespace

std::unique_ptr<SampleStream> training_stream(const Config& config, const Tokenizer& tokenizer,
                                              std::shared_ptr<const IndexedDataset> dataset) {
  return std::make_unique<DatasetStream>(config.seed, config, tokenizer, std::move(dataset));
}

std::unique_ptr<BlendedStream> open_training_stream(const Config& config,
                                                    const Tokenizer& tokenizer) {
  return std::make_unique<Blended>(config, tokenizer);
}

}  // namespace midfill
