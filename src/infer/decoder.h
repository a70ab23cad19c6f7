// Decoding with a KV cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/model/gpt.h"

namespace midfill {

// Caches for `batch` sequences of up to n_ctx positions, all at the same length. The model must
// outlive it.
class Decoder {
 public:
  Decoder(const Gpt& model, int batch);

  int batch() const { return batch_; }
  int64_t length() const { return length_; }  // positions in the caches
  void reset() { length_ = 0; }

  // Appends T new tokens to each sequence, ids (batch*T) row by row, and gives the logits that
  // follow the last one: (batch, vocab_size), valid until the next call. Throws where length() + T
  // > n_ctx.
  std::span<const float> append(std::span<const int32_t> ids);

  // Copies sequence 0's cache to all others, after a prompt was appended to it alone with
  // `append_first`.
  std::span<const float> append_first(std::span<const int32_t> ids);
  void broadcast_first();

 private:
  std::span<const float> run(std::span<const int32_t> ids, int batch);

  const Gpt* model_;
  int batch_;
  int64_t length_ = 0;
  Buffer memory_;
  std::vector<Tensor> k_, v_;  // per layer (batch,NH,n_ctx,HS)
  std::vector<float> logits_;
};

}  // namespace midfill
