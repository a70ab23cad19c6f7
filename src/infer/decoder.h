// Decoding with a KV cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/model/gpt.h"

namespace midfill {

// Caches for sequences of up to n_ctx positions, all at the same length, in memory of the model's
// device and in its dtype. The model must outlive it. Memory is set aside for `batch` whole
// contexts, but only what sequences grow into is ever touched.
class Decoder {
 public:
  // Throws Error where batch < 1.
  Decoder(const Gpt& model, int batch);

  int batch() const { return batch_; }  // sequences now: one at first
  int max_batch() const { return max_batch_; }
  int64_t length() const { return length_; }  // positions in the caches
  // Back to the first `length` positions of sequence 0, which alone remains. Throws Error above
  // length().
  void rewind(int64_t length);

  // Appends T >= 1 new tokens to each sequence, ids (batch,T), and gives the logits that follow the
  // last one: (batch, vocab_size) in host memory, valid until the next call. Throws Error where
  // length() + T > n_ctx or an id is outside the vocabulary.
  std::span<const float> append(std::span<const int32_t> ids);

  // Sequence 0 becomes `batch` equal ones: a shared prompt is computed once. Throws Error above
  // max_batch().
  void broadcast(int batch);
  // Keeps these sequences, ascending, and forgets the others.
  void keep(std::span<const int> sequences);

 private:
  void block(size_t layer, int64_t T);
  std::span<const float> head(int64_t T);
  void copy_sequence(int from, int to);
  Tensor rows(const Tensor& t) const { return t.rows(0, n_); }

  const Gpt* model_;
  int max_batch_, batch_ = 1;
  int64_t length_ = 0;
  Buffer memory_;
  std::vector<Tensor> k_, v_;  // per layer (max_batch,NH,n_ctx,HS)

  // Activations, of which the first n_ = batch * T rows are in use.
  int64_t max_rows_, n_ = 0;
  Tensor ids_;                          // (N)
  Tensor x_, norm_, mean_, rstd_;       // (N,C) (N,C) (N) (N)
  Tensor qkv_, attention_, up_, gelu_;  // (N,3C) (N,C) (N,F) (N,F)
  Tensor logits_;                       // (max_batch,Vp) f32
  std::vector<int32_t> host_ids_;
  std::vector<float> host_logits_;
};

}  // namespace midfill
