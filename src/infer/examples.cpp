#include "src/infer/examples.h"

#include <algorithm>
#include <optional>
#include <set>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"

namespace midfill {

namespace {

constexpr size_t kMinLine = 12;
constexpr int64_t kMinDocument = 50, kMaxDocument = 100'000;  // tokens
constexpr int kAttempts = 200;                                // for each example
constexpr uint64_t kEpoch = 1;                                // of kSampling: epoch 0 draws tokens

// What stands in a line without its indentation and end, as a range of bytes.
struct Span {
  size_t begin, end;
  int64_t line;
};

std::vector<Span> lines_of(std::string_view text) {
  std::vector<Span> spans;
  int64_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const size_t first = std::min(text.find_first_not_of(" \t", begin), end);
    const size_t last = text.substr(0, end).find_last_not_of(" \t\r");
    if (last != std::string_view::npos && last >= first + kMinLine - 1)
      spans.push_back({first, last + 1, line});
    begin = end + 1;
  }
  return spans;
}

std::optional<Example> example_of(const IndexedDataset& dataset, const Tokenizer& tokenizer,
                                  int64_t document, Rng& rng) {
  const int64_t begin = dataset.sequence_begin(dataset.document(document));
  const int64_t size = dataset.sequence_begin(dataset.document(document + 1)) - begin;
  if (size < kMinDocument || size > kMaxDocument) return std::nullopt;
  std::vector<TokenId> tokens(static_cast<size_t>(size));
  dataset.read(begin, tokens);
  std::erase(tokens, tokenizer.sentinels().eod);
  const std::string text = tokenizer.decode(tokens);
  const std::vector<Span> spans = lines_of(text);
  if (spans.empty()) return std::nullopt;
  const Span& span = spans[rng.below(spans.size())];
  return Example{.document = document,
                 .line = span.line,
                 .prefix = text.substr(0, span.begin),
                 .middle = text.substr(span.begin, span.end - span.begin),
                 .suffix = text.substr(span.end)};
}

}  // namespace

std::vector<Example> held_out_examples(const IndexedDataset& dataset, const Tokenizer& tokenizer,
                                       uint64_t seed, int count) {
  std::vector<Example> examples;
  std::set<int64_t> tried;
  Rng rng(seed, Purpose::kSampling, kEpoch);
  for (int attempt = 0; attempt < kAttempts * count && dataset.n_documents() > 0; ++attempt) {
    if (static_cast<int>(examples.size()) == count) break;
    const auto document =
        static_cast<int64_t>(rng.below(static_cast<uint64_t>(dataset.n_documents())));
    if (!tried.insert(document).second) continue;
    if (auto example = example_of(dataset, tokenizer, document, rng))
      examples.push_back(std::move(*example));
  }
  require(!examples.empty(), "{}: no document with a line to take out", dataset.prefix());
  return examples;
}

}  // namespace midfill
