#include "src/data/packed_tokens.h"

#include "kernels/common/check.h"

namespace midfill {

PackedTokens::PackedTokens(std::shared_ptr<const IndexedDataset> dataset, int n_ctx, int vocab_size)
    : dataset_(std::move(dataset)), n_ctx_(n_ctx), vocab_size_(vocab_size) {
  require(n_ctx > 0, "model.n_ctx: found {}, expected at least 1", n_ctx);
  n_samples_ = (dataset_->n_tokens() - 1) / n_ctx;
  require(n_samples_ > 0, "{}: holds {} tokens, one sample of n_ctx + 1 needs {}",
          dataset_->prefix(), dataset_->n_tokens(), int64_t{n_ctx} + 1);
}

void PackedTokens::read(int64_t begin, int64_t count, std::vector<TokenId>& out) const {
  out.resize(count);
  dataset_->read(begin, out);
  for (int64_t i = 0; i < count; ++i)
    require(
        out[i] >= 0 && out[i] < vocab_size_,
        "{}.bin: token {} is id {}, the tokenizer has ids below {}: made with another tokenizer?",
        dataset_->prefix(), begin + i, out[i], vocab_size_);
}

}  // namespace midfill
