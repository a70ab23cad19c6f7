#include "src/train/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/data/loader.h"
#include "src/io/units.h"
#include "src/model/parameters.h"
#include "src/train/pending_step.h"

namespace midfill {

int64_t samples_per_step(const Config& config) {
  return config.train.batch_tokens / config.model.n_ctx;
}

GptOptions training_options(const Config& config) {
  const int64_t rows = std::min<int64_t>(config.train.micro_batch, samples_per_step(config));
  return {.max_batch = static_cast<int>(rows),
          .training = true,
          .head_chunk = config.train.head_chunk,
          .dtype = config.train.dtype,
          .recompute = config.train.recompute,
          .cuda_graph = config.train.cuda_graph};
}

namespace {

int64_t loader_bytes(const Config& config) {
  return (config.data.ahead + 1) * samples_per_step(config) *
         SampleBatch::row_bytes(config.model.n_ctx);
}

}  // namespace

int64_t batch_bytes(const Config& config) {
  return loader_bytes(config) + PendingStep::bytes(samples_per_step(config), config.model.n_ctx);
}

namespace {

std::string table_line(std::string_view name, std::string_view text) {
  return fmt::format("{:<16}{}", name, text);
}

}  // namespace

std::vector<std::string> describe(const Config& config) {
  const ModelConfig& m = config.model;
  const ParameterTable table(m);
  const FlopsPerToken flops = flops_per_token(m);
  std::vector<std::string> lines;
  const auto add = [&](std::string_view name, const std::string& text) {
    lines.push_back(table_line(name, text));
  };

  const int padded = m.padded_vocab() - m.vocab_size;
  add("model",
      fmt::format("{} layers, d_model {}, {} heads of {}, d_ff {}, n_ctx {}, vocabulary {}{}",
                  m.n_layers, m.d_model, m.n_heads, m.head_size(), m.d_ff, m.n_ctx,
                  with_commas(m.vocab_size),
                  padded > 0 ? fmt::format(" padded to {}", with_commas(m.padded_vocab()))
                             : std::string()));
  add("parameters", fmt::format("{} ({} in matrix products)", with_commas(table.count()),
                                with_commas(table.matmul_count())));
  int64_t total = 0;
  for (const MemoryLine& line : Gpt::memory(m, training_options(config))) {
    add(total == 0 ? "memory" : "", fmt::format("{:>11}  {}", bytes_text(line.bytes), line.name));
    total += line.bytes;
  }
  add("", fmt::format("{:>11}  in all", bytes_text(total)));
  add("FLOPs per token",
      fmt::format("{}FLOP causal (6N + 6LdT), {}FLOP full attention (6N + 12LdT)",
                  si_text(flops.causal), si_text(flops.full)));
  const double tokens =
      static_cast<double>(config.train.steps) * static_cast<double>(config.train.batch_tokens);
  add("batch",
      fmt::format("{} tokens = {} samples, {} at once", with_commas(config.train.batch_tokens),
                  with_commas(samples_per_step(config)), training_options(config).max_batch));
  add("steps", with_commas(config.train.steps));
  add("tokens",
      fmt::format("{} ({}FLOP causal)",
                  tokens < 9e18 ? with_commas(config.train.steps * config.train.batch_tokens)
                                : fmt::format("{:.4g}", tokens),
                  si_text(flops.causal * tokens)));
  return lines;
}

namespace {

// What it means that a source does not say where its documents end.
std::string no_eod_text(const SourceInfo& source, const Config& config) {
  std::string text = fmt::format(
      "{}: no {} among the {} tokens that were looked at: nothing tells the model where documents "
      "end",
      source.path, config.data.eod, with_commas(source.without_eod));
  if (config.fim.rate > 0)
    text += config.fim.level == FimLevel::context
                ? ", and FIM takes each sample whole for one document, so that prefix, middle and "
                  "suffix run across documents"
                : ", and FIM takes the documents that begin within the same 4 contexts for one, so "
                  "that prefix, middle and suffix run across documents";
  return text +
         "; tokenise with --append-eod, or name the token that ends them in data.eod "
         "(docs/data-format.md)";
}

}  // namespace

std::vector<std::string> describe(const std::vector<SourceInfo>& sources, const Config& config) {
  size_t width = 0;
  for (const SourceInfo& source : sources) width = std::max(width, source.name.size());
  const double samples =
      static_cast<double>(config.train.steps) * static_cast<double>(samples_per_step(config));
  std::vector<std::string> lines;
  for (const SourceInfo& source : sources) {
    std::string text;
    if (!source.name.empty())
      text = fmt::format("{:<{}}  {:6.2f} %  ", source.name, width, 100 * source.share);
    text += fmt::format("{} tokens, {:.3g} epochs: {}", with_commas(source.tokens),
                        samples * source.share / static_cast<double>(source.samples), source.path);
    lines.push_back(table_line(lines.empty() ? "data" : "", text));
  }
  for (const SourceInfo& source : sources)
    if (source.without_eod > 0) lines.push_back(table_line("warning", no_eod_text(source, config)));
  lines.push_back(table_line(
      "loader", fmt::format("{} thread{}, {} step{} ahead, {} of batches", config.data.threads,
                            config.data.threads > 1 ? "s" : "", config.data.ahead,
                            config.data.ahead > 1 ? "s" : "", bytes_text(loader_bytes(config)))));
  return lines;
}

}  // namespace midfill
