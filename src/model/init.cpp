#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/rng.h"
#include "src/model/parameters.h"

namespace midfill {

namespace {

// Elements drawn from one random stream: element i of parameter p is draw i % kBlock of stream
// (seed, p, i / kBlock), whichever thread fills it.
constexpr int64_t kBlock = 4096;

// p = mean + std * N(0, 1) for the first `used` elements; the padded vocabulary after them is 0.
void init_parameter(const Cpu& cpu, const Parameter& parameter, uint64_t index, int64_t used,
                    uint64_t seed, float* p) {
  const int64_t blocks = (parameter.numel + kBlock - 1) / kBlock;
  parallel_units(cpu, blocks, [&](int64_t block, int) {
    Rng rng(seed, Purpose::kInit, 0, index, static_cast<uint64_t>(block));
    const int64_t begin = block * kBlock, end = std::min(begin + kBlock, parameter.numel);
    for (int64_t i = begin; i < end; ++i) {
      double value = parameter.init_mean;
      if (i >= used)
        value = 0.0;
      else if (parameter.init_std != 0.0)
        value += parameter.init_std * rng.normal();
      p[i] = static_cast<float>(value);
    }
  });
}

}  // namespace

void init_parameters(const Cpu& cpu, const ParameterTable& table, const ModelConfig& config,
                     uint64_t seed, Tensor arena) {
  expect(arena, "init_parameters", "arena", DType::f32, {table.arena_numel()});
  const int64_t padded = config.padded_vocab(), width = config.d_model;
  uint64_t index = 0;
  for (const Parameter& parameter : table.all()) {
    const bool by_token = parameter.layer < 0 && parameter.shape.size() == 2;
    const int64_t used =
        by_token ? parameter.numel - (padded - config.vocab_size) * width : parameter.numel;
    init_parameter(cpu, parameter, index++, used, seed, arena.as<float>() + parameter.offset);
  }
}

}  // namespace midfill
