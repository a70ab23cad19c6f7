// The parameter table: each parameter once, with everything that anything else derives from it:
// arena layout, views, optimiser spans, initial values, checkpoint and Hugging Face names, the
// parameter count.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/adamw.h"
#include "kernels/common/tensor.h"
#include "src/config/config.h"

namespace midfill {

struct Parameter {
  std::string name;  // Hugging Face's GPTNeoX name: "gpt_neox.layers.0.attention.dense.weight"
  std::vector<int64_t> shape;  // as in the checkpoint, but the vocabulary is padded
  int layer = -1;              // -1: not in a layer
  bool decayed = false;        // weight decay applies: matrices, embeddings included
  double init_mean = 0.0;      // 1 for norm weights
  double init_std = 0.0;       // 0: constant
  int64_t offset = 0;          // first element in the arena; multiples of 64 elements (256 bytes)
  int64_t numel = 0;
};

// The parameter within an arena of the table's layout, f32 or bf16.
Tensor view_of(const Parameter& parameter, const Tensor& arena);

class ParameterTable {
 public:
  // Throws Error where the model's shape is impossible.
  explicit ParameterTable(const ModelConfig& config);

  const std::vector<Parameter>& all() const { return parameters_; }
  const Parameter& at(std::string_view name) const;  // throws Error for an unknown name
  int64_t arena_numel() const { return arena_numel_; }

  // All parameters, padded vocabulary included (1,414,647,808 for FIM-1.3B at 50,304).
  int64_t count() const;
  // Parameters used in matrix products, LM head included (also when tied).
  int64_t matmul_count() const { return matmul_count_; }
  // One span per parameter, of weight_decay where it is decayed and 0 where it is not.
  std::vector<DecaySpan> decay_spans(float weight_decay) const;

 private:
  std::vector<Parameter> parameters_;
  int64_t arena_numel_ = 0;
  int64_t matmul_count_ = 0;
};

// Training FLOPs of one token: forward and backward. causal: 6 N + 6 L d T; full attention: 6 N +
// 12 L d T.
struct FlopsPerToken {
  double causal = 0, full = 0;
};
FlopsPerToken flops_per_token(const ModelConfig& config);

// Initial weights, a pure function of (config, seed). Padded vocabulary rows are zero.
void init_parameters(const Cpu& cpu, const ParameterTable& table, const ModelConfig& config,
                     uint64_t seed, Tensor arena);

}  // namespace midfill
