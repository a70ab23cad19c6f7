// The model once more, from its definition: plain loops in double, no kernels, no tables of
// activations. What the real one is held against.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "src/model/gpt.h"

namespace midfill::test {

// A batch that owns its memory. Targets are the next ids; all weights are 1.
struct OwnedBatch {
  int64_t B, T;
  std::vector<int32_t> ids, targets;
  std::vector<float> weights;

  // Random tokens, a pure function of (seed, B, T).
  OwnedBatch(uint64_t seed, int64_t samples, int64_t length, int vocab);
  Batch view() { return rows(0, B); }
  Batch rows(int64_t begin, int64_t end);  // samples [begin, end)
};

class ReferenceModel {
 public:
  // Copies the parameters of `model`.
  explicit ReferenceModel(const Gpt& model);

  // By Hugging Face name, row-major.
  std::vector<double>& param(const std::string& name) { return params_.at(name); }

  // Loss of every token, nats, not weighted.
  std::vector<double> losses(const OwnedBatch& batch) const;
  // Sum of weight * loss.
  double loss(const OwnedBatch& batch) const;

 private:
  using Rows = std::vector<double>;  // (T, width)
  const Rows& p(const std::string& name) const { return params_.at(name); }
  Rows linear(const Rows& x, const std::string& name, int64_t in, int64_t out) const;
  Rows norm(const Rows& x, const std::string& name) const;
  Rows attention(const Rows& qkv) const;
  double gelu(double x) const;

  ModelConfig config_;
  std::map<std::string, Rows> params_;
};

// All parameters random and large enough for every term of the equations to matter: matrices
// N(0, 0.3^2), biases N(0, 0.2^2), norm weights 1 + N(0, 0.2^2). Padded rows are zero.
void randomize(Gpt& model, uint64_t seed);

}  // namespace midfill::test
