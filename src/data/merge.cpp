#include "src/data/merge.h"

#include <algorithm>
#include <span>

#include "kernels/common/check.h"
#include "src/data/dataset_writer.h"
#include "src/data/indexed_dataset.h"
#include "src/io/new_folders.h"

namespace midfill {

namespace {

constexpr int64_t kChunk = 1 << 18;  // tokens, or sizes

// Calls use(begin, count) for the chunks of [0, n).
template <typename Use>
void in_chunks(int64_t n, Use use) {
  for (int64_t begin = 0; begin < n; begin += kChunk) use(begin, std::min(kChunk, n - begin));
}

}  // namespace

MergeSummary merge_datasets(const MergeOptions& options) {
  require(!options.inputs.empty(), "{}: no datasets to merge", options.out);
  refuse_existing(options.out);
  MergeSummary sum{.type = TokenType::u16};
  for (const std::string& prefix : options.inputs) {
    const auto data = IndexedDataset::open(prefix);
    if (bytes_of(data.token_type()) > 2) sum.type = TokenType::i32;
    sum.sequences += data.n_sequences();
    sum.documents += data.n_documents();
    sum.tokens += data.n_tokens();
  }

  const NewFolders folders(options.out);
  DatasetOutput output(options.out, sum.type);
  GrowingDataset& files = output.files();
  std::vector<TokenId> ids;
  std::vector<std::byte> stored;
  std::vector<int32_t> sizes;
  for (const std::string& prefix : options.inputs) {
    const auto data = IndexedDataset::open(prefix);
    in_chunks(data.n_tokens(), [&](int64_t begin, int64_t count) {
      require(!(options.stop && options.stop()), "{}: interrupted; nothing was written",
              options.out);
      ids.resize(static_cast<size_t>(count));
      data.read(begin, ids);
      stored.clear();
      append_as_stored(ids, sum.type, stored);
      files.append_tokens(stored);
      if (options.progress)
        options.progress(static_cast<double>(files.length().tokens) /
                         static_cast<double>(sum.tokens));
    });
    in_chunks(data.n_sequences(), [&](int64_t begin, int64_t count) {
      sizes.clear();
      for (int64_t i = begin; i < begin + count; ++i)
        sizes.push_back(static_cast<int32_t>(data.sequence_size(i)));
      files.append_sizes(sizes);
    });
  }
  require(files.length().tokens == sum.tokens && files.length().sequences == sum.sequences,
          "{}: an input changed meanwhile", options.out);
  output.commit([&](const GrowingDataset::Put& put) {
    int64_t before = 0;
    for (const std::string& prefix : options.inputs) {
      const auto data = IndexedDataset::open(prefix);
      for (int64_t d = 0; d < data.n_documents(); ++d) put(before + data.document(d));
      before += data.n_sequences();
    }
    require(before == sum.sequences, "{}: an input changed meanwhile", options.out);
  });
  return sum;
}

}  // namespace midfill
