// A dataset cut into samples: sample k is tokens [k * n_ctx, k * n_ctx + n_ctx + 1) of its
// sequences laid end to end in file order, so that neighbours share one token and every token but
// the first is predicted exactly once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "src/data/indexed_dataset.h"

namespace midfill {

class PackedTokens {
 public:
  // Throws Error where the dataset does not hold one sample.
  PackedTokens(std::shared_ptr<const IndexedDataset> dataset, int n_ctx, int vocab_size);

  int n_ctx() const { return n_ctx_; }
  int64_t n_samples() const { return n_samples_; }
  const IndexedDataset& dataset() const { return *dataset_; }

  // Tokens [begin, begin + count) of the dataset. Throws Error for an id that the tokenizer lacks.
  void read(int64_t begin, int64_t count, std::vector<TokenId>& out) const;
  void read_sample(int64_t k, std::vector<TokenId>& out) const {
    read(k * n_ctx_, n_ctx_ + 1, out);
  }

 private:
  std::shared_ptr<const IndexedDataset> dataset_;
  int n_ctx_;
  int vocab_size_;
  int64_t n_samples_;
};

}  // namespace midfill
