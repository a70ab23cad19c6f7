#include "src/data/packed_tokens.h"

#include <algorithm>

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
  if (dataset_->max_id() < vocab_size_) return;
  const auto is_outside = [limit = static_cast<uint32_t>(vocab_size_)](TokenId id) {
    return static_cast<uint32_t>(id) >= limit;  // one below 0 too
  };
  bool outside = false;
  for (const TokenId id : out) outside |= is_outside(id);
  if (!outside) return;
  const auto i = std::ranges::find_if(out, is_outside) - out.begin();
  fail("{}.bin: token {} is id {}, the tokenizer has ids below {}: made with another tokenizer?",
       dataset_->prefix(), begin + i, out[i], vocab_size_);
}

}  // namespace midfill
