// Checkpoints and Hugging Face files of a model on the device `cuda`.
#include "kernels/common/rng.h"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/hugging_face.h"
#include "src/model/host_arena.h"
#include "tests/model/reference_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

ModelConfig small_model() {
  return {.n_layers = 2,
          .d_model = 64,
          .n_heads = 2,
          .d_ff = 72,
          .n_ctx = 8,
          .vocab_size = 45,
          .vocab_multiple = 8};
}

struct Trained {
  Device device;
  Gpt model;
  Optimizer optimizer;

  Trained(const char* name, DType dtype)
      : device(name, 1),
        model(small_model(), {.max_batch = 1, .dtype = dtype}, device),
        optimizer(OptimConfig{}, model) {}

  void fill(uint64_t seed) {
    test::randomize(model, seed);
    for (const Tensor& arena : {optimizer.m(), optimizer.v()}) {
      HostArena host(device, arena);
      Rng rng(seed, Purpose::kTest, 7, arena.data() == optimizer.m().data());
      for (const Parameter& p : model.table().all())
        for (int64_t i = 0; i < p.numel; ++i)
          host.at(p).as<float>()[i] = static_cast<float>(rng.normal());
      host.store();
    }
    optimizer.set_updates(5);
  }

  // Every value of weights and moments that a parameter owns, in order.
  std::vector<float> contents() {
    std::vector<float> values;
    for (const Tensor& arena : {model.params(), optimizer.m(), optimizer.v()}) {
      const HostArena host(device, arena);
      for (const Parameter& p : model.table().all())
        values.insert(values.end(), host.at(p).as<float>(), host.at(p).as<float>() + p.numel);
    }
    return values;
  }
};

// The weights that the ops read are the master weights, rounded.
void expect_rounded(Trained& trained) {
  const HostArena master(trained.device, trained.model.params()),
      rounded(trained.device, trained.model.compute_params());
  for (const Parameter& p : trained.model.table().all())
    for (int64_t i = 0; i < p.numel; ++i)
      ASSERT_EQ(rounded.at(p).as<Bf16>()[i].bits, Bf16(master.at(p).as<float>()[i]).bits) << p.name;
}

TEST(CudaCheckpoint, WrittenOnOneDeviceLoadsOnTheOtherBitForBit) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const bool from_cuda : {true, false}) {
      Trained cuda("cuda", dtype), cpu("cpu", DType::f32);
      Trained &writer = from_cuda ? cuda : cpu, &reader = from_cuda ? cpu : cuda;
      writer.fill(3);
      reader.fill(4);
      const test::TemporaryDirectory directory;
      TrainState state;
      state.step = 6;
      state.updates = 5;
      save_checkpoint(directory.path(), writer.model, &writer.optimizer, state);
      load_checkpoint(find_checkpoint(directory.path())->path, reader.model, &reader.optimizer);
      EXPECT_EQ(reader.contents(), writer.contents());
      EXPECT_EQ(reader.optimizer.updates(), 5);
      if (dtype == DType::bf16) expect_rounded(cuda);
    }
}

TEST(CudaCheckpoint, InitialWeightsAreTheCpus) {
  Trained cuda("cuda", DType::bf16), cpu("cpu", DType::f32);
  initialize(cuda.model, 11);
  initialize(cpu.model, 11);
  EXPECT_EQ(cuda.contents(), cpu.contents());
  expect_rounded(cuda);
}

}  // namespace
}  // namespace midfill
