#include "src/eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/common/check.h"

namespace midfill {

Batch rows_of(const SampleBatch& batch, int64_t begin, int64_t rows) {
  const auto view = [&](const auto& values) {
    return Tensor::of(values.data() + begin * batch.n_ctx, {rows, batch.n_ctx});
  };
  return {.ids = view(batch.ids), .targets = view(batch.targets), .weights = view(batch.weights)};
}

std::vector<EvalStream> streams_for(bool psm, bool spm1, bool spm2) {
  using enum EvalStream;
  std::vector<EvalStream> out = {ar};
  if (psm) out.push_back(fim_psm);
  if (spm1) out.push_back(fim_spm1);
  if (spm2) out.push_back(fim_spm2);
  if (psm) out.push_back(middle_psm);
  if (spm1) out.push_back(middle_spm1);
  if (spm2) out.push_back(middle_spm2);
  if (psm || spm1 || spm2) out.push_back(middle_ar);
  return out;
}

std::vector<EvalStream> streams_for(const FimConfig& fim) {
  const bool on = fim.rate > 0;
  return streams_for(on && fim.psm > 0, on && fim.spm1 > 0, on && fim.spm2 > 0);
}

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::string loss_text(double loss, int64_t count) {
  if (count == 0) return "none";
  return std::isnan(loss) ? "nan" : fmt::format("{:.4f}", loss);
}

// The mean of a loss by weight over the sources that have what it is counted by.
double mean_of(double EvalLoss::*loss, int64_t EvalLoss::*count,
               const std::vector<SourceLoss>& losses, const std::vector<DataSource>& sources) {
  double sum = 0.0, weights = 0.0;
  for (size_t d = 0; d < losses.size(); ++d) {
    if (losses[d].*count == 0) continue;
    sum += sources[d].weight * losses[d].*loss;
    weights += sources[d].weight;
  }
  return weights > 0 ? sum / weights : kNone;
}

EvalResult in_all(EvalStream stream, std::vector<SourceLoss> losses,
                  const std::vector<DataSource>& sources) {
  EvalResult result;
  result.stream = stream;
  if (losses.size() == 1) {
    static_cast<EvalLoss&>(result) = losses[0];
    return result;
  }
  for (const SourceLoss& loss : losses) {
    result.samples += loss.samples;
    result.tokens += loss.tokens;
    result.bytes += loss.bytes;
  }
  result.nats_per_token = mean_of(&EvalLoss::nats_per_token, &EvalLoss::tokens, losses, sources);
  result.bits_per_byte = mean_of(&EvalLoss::bits_per_byte, &EvalLoss::bytes, losses, sources);
  result.sources = std::move(losses);
  return result;
}

}  // namespace

std::string nats_text(const EvalLoss& loss) {
  return loss_text(loss.nats_per_token, loss.tokens);
}

std::string bits_text(const EvalLoss& loss) {
  return loss_text(loss.bits_per_byte, loss.bytes);
}

Evaluator::Evaluator(const Config& config, const Tokenizer& tokenizer,
                     const std::vector<EvalStream>& kinds)
    : tokenizer_(&tokenizer), sources_(config.data.valid) {
  require(!sources_.empty(),
          "data.valid is empty, expected the prefix of a dataset to evaluate on");
  for (const EvalStream kind : kinds) streams_.push_back({kind, {}});
  for (const DataSource& source : sources_) {
    const auto dataset = std::make_shared<const IndexedDataset>(
        IndexedDataset::open(source.path, tokenizer.vocab_size()));
    for (Stream& stream : streams_)
      stream.of_source.push_back(eval_stream(stream.kind, config, tokenizer, dataset));
    infos_.push_back({.name = source.name,
                      .path = source.path,
                      .tokens = dataset->n_tokens(),
                      .samples = streams_.front().of_source.back()->size()});
  }
}

std::vector<EvalResult> Evaluator::run(Gpt& model, int64_t samples, int64_t max_batch,
                                       const std::function<bool()>& give_way) const {
  std::vector<EvalResult> results;
  for (const Stream& stream : streams_) {
    std::vector<SourceLoss> losses;
    for (size_t d = 0; d < sources_.size(); ++d) {
      const auto loss = run_stream(model, *stream.of_source[d], samples, max_batch, give_way);
      if (!loss) return {};
      losses.push_back({*loss, sources_[d].name});
    }
    results.push_back(in_all(stream.kind, std::move(losses), sources_));
  }
  return results;
}

std::optional<EvalLoss> Evaluator::run_stream(Gpt& model, const SampleStream& stream,
                                              int64_t samples, int64_t max_batch,
                                              const std::function<bool()>& give_way) const {
  EvalLoss result;
  result.samples = std::min(samples, stream.size());
  double nats = 0.0, weight = 0.0;
  SampleBatch batch;
  std::vector<float> losses;
  for (int64_t first = 0; first < result.samples; first += max_batch) {
    if (give_way && give_way()) return std::nullopt;
    fill_batch(stream, first, std::min(max_batch, result.samples - first), batch);
    losses.resize(batch.ids.size());
    nats += model.forward(rows_of(batch, 0, batch.rows), losses);
    weight += batch.total_weight;
    for (size_t i = 0; i < batch.targets.size(); ++i) {
      if (batch.weights[i] <= 0) continue;
      const TokenId id = batch.targets[i];
      ++result.tokens;
      if (!tokenizer_->is_special(id))
        result.bytes += static_cast<int64_t>(tokenizer_->bytes_of(id).size());
    }
  }
  result.nats_per_token = result.tokens > 0 ? nats / weight : kNone;
  result.bits_per_byte =
      result.bytes > 0 ? nats / std::numbers::ln2 / static_cast<double>(result.bytes) : kNone;
  return result;
}

}  // namespace midfill
