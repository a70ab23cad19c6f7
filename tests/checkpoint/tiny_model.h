// A model of a few kilobytes with known contents, for the tests of files.
#pragma once

#include "kernels/common/device.h"
#include "kernels/common/rng.h"
#include "src/checkpoint/checkpoint.h"
#include "src/model/gpt.h"
#include "src/optim/optimizer.h"

namespace midfill::test {

inline ModelConfig tiny_config() {
  ModelConfig config;
  config.n_layers = 2;
  config.d_model = 8;
  config.n_heads = 2;
  config.d_ff = 20;
  config.n_ctx = 8;
  config.vocab_size = 13;
  config.vocab_multiple = 8;  // three padded rows
  return config;
}

struct TinyModel {
  explicit TinyModel(const ModelConfig& config = tiny_config())
      : model(config, {.max_batch = 1}, device), optimizer(OptimConfig{}, model) {}

  // Weights and moments as a function of `seed`.
  void fill(uint64_t seed) {
    uint64_t which = 0;
    for (const Tensor& arena : {model.params(), optimizer.m(), optimizer.v()}) {
      Rng rng(seed, Purpose::kTest, 0, which++);
      for (const Parameter& p : model.table().all())
        for (int64_t i = 0; i < p.numel; ++i)
          arena.as<float>()[p.offset + i] = static_cast<float>(rng.normal());
    }
  }

  // Every value of weights and moments that a parameter owns, in order.
  std::vector<float> contents() const {
    std::vector<float> values;
    for (const Tensor& arena : {model.params(), optimizer.m(), optimizer.v()})
      for (const Parameter& p : model.table().all())
        values.insert(values.end(), arena.as<float>() + p.offset,
                      arena.as<float>() + p.offset + p.numel);
    return values;
  }

  Device device{"cpu", 1};
  Gpt model;
  Optimizer optimizer;
};

}  // namespace midfill::test
