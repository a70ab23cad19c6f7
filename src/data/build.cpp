#include "src/data/build.h"

#include <omp.h>
#include <xxhash.h>

#include <exception>
#include <future>
#include <optional>
#include <utility>

#include "kernels/common/check.h"
#include "src/data/dataset_writer.h"
#include "src/io/inputs.h"

namespace midfill {

namespace {

// Documents that are read, encoded and written together.
struct Batch {
  static constexpr size_t kBytes = size_t{8} << 20;
  static constexpr size_t kDocuments = 16384;

  std::vector<std::string> texts;
  std::vector<std::vector<TokenId>> tokens;
  uint64_t bytes_done = 0;  // of the input, once these are read

  explicit Batch(DocumentReader& reader) {
    std::string text;
    for (size_t bytes = 0; bytes < kBytes && texts.size() < kDocuments && reader.next(text);) {
      bytes += text.size();
      texts.push_back(std::exchange(text, {}));
    }
    bytes_done = reader.bytes_done();
  }

  void encode(const Tokenizer& tokenizer, int threads) {
    tokens.resize(texts.size());
    std::exception_ptr error;  // must not leave a parallel region by itself
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < texts.size(); ++i) {
      try {
        tokenizer.encode_to(texts[i], tokens[i], {.match_special = false});
        tokens[i].push_back(tokenizer.sentinels().eod);
      } catch (...) {
#pragma omp critical(midfill_batch_encode)
        error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }
};

// One of the two datasets; without a writer where it is not wanted.
struct Split {
  std::string prefix;
  std::optional<IndexedDatasetWriter> writer;
  SplitCounts counts;

  void add(const std::string& text, const std::vector<TokenId>& tokens) {
    writer->add_document(tokens);
    ++counts.documents;
    counts.tokens += static_cast<int64_t>(tokens.size());
    counts.bytes += static_cast<int64_t>(text.size());
  }
};

}  // namespace

bool in_validation(std::string_view text, double fraction) {
  const uint64_t hash = XXH3_64bits(text.data(), text.size());
  return static_cast<double>(hash >> 11) * 0x1p-53 < fraction;
}

BuildSummary build_dataset(const Tokenizer& tokenizer, const BuildOptions& options) {
  require(options.valid_fraction >= 0 && options.valid_fraction < 1,
          "valid fraction {}: expected 0 or more, and less than 1", options.valid_fraction);
  require(tokenizer.sentinels().eod >= 0,
          "the tokenizer has no <|endoftext|>, which must end every document");
  Split train{options.out + "_train", {}, {}}, valid{options.out + "_valid", {}, {}};
  refuse_existing(train.prefix);
  refuse_existing(valid.prefix);
  // Before the outputs are begun, which may lie in a directory that is read.
  const auto files = list_inputs(options.inputs, options.include, options.exclude);
  DocumentReader reader(files, options.documents);
  train.writer.emplace(train.prefix, tokenizer.vocab_size());
  if (options.valid_fraction > 0) valid.writer.emplace(valid.prefix, tokenizer.vocab_size());

  const int threads = options.threads > 0 ? options.threads : omp_get_max_threads();
  // While one batch is encoded and written the next is read.
  const auto read_batch = [&reader] { return Batch(reader); };
  auto next = std::async(std::launch::async, read_batch);
  for (;;) {
    Batch batch = next.get();
    if (batch.texts.empty()) break;
    next = std::async(std::launch::async, read_batch);
    batch.encode(tokenizer, threads);
    for (size_t i = 0; i < batch.texts.size(); ++i) {
      Split& split = in_validation(batch.texts[i], options.valid_fraction) ? valid : train;
      split.add(batch.texts[i], batch.tokens[i]);
    }
    if (options.progress)
      options.progress({batch.bytes_done, reader.bytes_total(), train.counts + valid.counts});
    require(!(options.stop && options.stop()), "{}: interrupted; nothing was written", options.out);
  }
  require(train.counts.documents + valid.counts.documents > 0,
          "{}: no document in {} input files ({} empty, {} bad lines, {} binary files)",
          options.out, files.size(), reader.counts().empty, reader.counts().bad_lines,
          reader.counts().binary_files);

  train.writer->commit();
  if (valid.writer) {
    try {
      valid.writer->commit();
    } catch (...) {
      remove_dataset(train.prefix);
      throw;
    }
  }
  return {train.counts, valid.counts, reader.counts()};
}

}  // namespace midfill
