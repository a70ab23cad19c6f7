// The frozen validation streams: functions of the dataset, the tokenizer and n_ctx alone.
#include <algorithm>
#include <vector>

#include "kernels/common/check.h"
#include "src/data/fim.h"
#include "src/data/packed_tokens.h"
#include "src/data/permutation.h"
#include "src/data/sample_stream.h"

namespace midfill {

namespace {

// Fixed for good: changing it would change every validation figure. "midfill" in ASCII.
constexpr uint64_t kEvalSeed = 0x6d696466696c6c;

FimConfig frozen_fim(EvalStream kind) {
  FimConfig fim{.rate = 1.0,
                .level = FimLevel::context,
                .unit = FimUnit::character,
                .psm = 0,
                .spm1 = 0,
                .spm2 = 0};
  switch (kind) {
    case EvalStream::ar:
      fim.rate = 0.0;
      break;
    case EvalStream::fim_psm:
    case EvalStream::middle_psm:
    case EvalStream::middle_ar:
      fim.psm = 1;
      break;
    case EvalStream::fim_spm1:
    case EvalStream::middle_spm1:
      fim.spm1 = 1;
      break;
    case EvalStream::fim_spm2:
    case EvalStream::middle_spm2:
      fim.spm2 = 1;
      break;
  }
  return fim;
}

// The same parts, token for token, in the order in which a reader meets them. Sentinels go, so
// everything fits; a middle at the very start gets an EOD before it, for its first token must be
// predicted from something.
void put_in_reading_order(const Sentinels& ids, const Sample& from, Sample& to) {
  const size_t size = from.tokens.size();
  to.tokens.clear();
  to.segments.clear();
  to.dropped = from.dropped;
  to.reverted = from.reverted;
  const auto here = [&to] { return static_cast<int32_t>(to.tokens.size()); };
  const auto append = [&](TokenRange range) {
    const int32_t begin = here();
    to.tokens.insert(to.tokens.end(), from.tokens.begin() + range.begin,
                     from.tokens.begin() + range.end);
    return TokenRange{begin, here()};
  };

  if (!from.segments.empty()) {
    const Segment& first = from.segments.front();
    if (first.prefix.size() == 0 && first.middle.size() > 0) to.tokens.push_back(ids.eod);
  }
  for (const Segment& segment : from.segments) {
    Segment plain;
    plain.range.begin = here();
    plain.prefix = append(segment.prefix);
    plain.middle = append(segment.middle);
    plain.suffix = append(segment.suffix);
    if (from.tokens[segment.range.end - 1] == ids.eod) to.tokens.push_back(ids.eod);
    plain.range.end = here();
    to.segments.push_back(plain);
  }
  to.padded = static_cast<int32_t>(size) - here();
  to.tokens.resize(size, ids.pad);
}

class FrozenStream final : public SampleStream {
 public:
  FrozenStream(EvalStream kind, int n_ctx, const Tokenizer& tokenizer,
               std::shared_ptr<const IndexedDataset> dataset)
      : kind_(kind),
        ids_(tokenizer.sentinels()),
        packed_(std::move(dataset), n_ctx, tokenizer.vocab_size()),
        fim_(frozen_fim(kind), tokenizer),
        order_(kEvalSeed, Purpose::kSampleOrder, 0, static_cast<uint64_t>(packed_.n_samples())) {}

  int64_t size() const override { return packed_.n_samples(); }
  int n_ctx() const override { return packed_.n_ctx(); }

  void get(int64_t index, Sample& sample) const override {
    require(index >= 0 && index < size(), "there is no sample {}: stream {} of {} has {}", index,
            name_of(kind_), packed_.dataset().prefix(), size());
    thread_local std::vector<TokenId> tokens;
    const uint64_t k = order_(static_cast<uint64_t>(index));
    packed_.read_sample(static_cast<int64_t>(k), tokens);
    const FimKey key{kEvalSeed, Purpose::kFimEval, 0, k};
    if (kind_ == EvalStream::middle_ar) {
      thread_local Sample infilling;
      fim_.apply(tokens, key, infilling);
      put_in_reading_order(ids_, infilling, sample);
    } else {
      fim_.apply(tokens, key, sample);
    }
    if (middle_only()) {
      sample.weights.assign(sample.tokens.size(), 0.0f);
      for (const Segment& segment : sample.segments)
        std::fill(sample.weights.begin() + segment.middle.begin,
                  sample.weights.begin() + segment.middle.end, 1.0f);
    }
    sample.weights[0] = 0.0f;
    sample.index = index;
    sample.source = 0;
  }

 private:
  bool middle_only() const {
    return kind_ == EvalStream::middle_psm || kind_ == EvalStream::middle_spm1 ||
           kind_ == EvalStream::middle_spm2 || kind_ == EvalStream::middle_ar;
  }

  EvalStream kind_;
  Sentinels ids_;
  PackedTokens packed_;
  FimTransform fim_;
  Permutation order_;
};

}  // namespace

std::string_view name_of(EvalStream stream) {
  switch (stream) {
    case EvalStream::ar:
      return "ar";
    case EvalStream::fim_psm:
      return "fim_psm";
    case EvalStream::fim_spm1:
      return "fim_spm1";
    case EvalStream::fim_spm2:
      return "fim_spm2";
    case EvalStream::middle_psm:
      return "middle_psm";
    case EvalStream::middle_spm1:
      return "middle_spm1";
    case EvalStream::middle_spm2:
      return "middle_spm2";
    case EvalStream::middle_ar:
      return "middle_ar";
  }
  return "?";
}

std::unique_ptr<SampleStream> eval_stream(EvalStream kind, const Config& config,
                                          const Tokenizer& tokenizer,
                                          std::shared_ptr<const IndexedDataset> dataset) {
  return std::make_unique<FrozenStream>(kind, config.model.n_ctx, tokenizer, std::move(dataset));
}

}  // namespace midfill
