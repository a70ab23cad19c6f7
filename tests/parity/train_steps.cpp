// Training steps of midfill for training_test.py: loads a Hugging Face directory, takes the batches
// of a JSON file and writes the gradients of the first step and the weights after the last.
//   train_steps HF_DIRECTORY STEPS.json GRADIENTS.safetensors WEIGHTS.safetensors
// STEPS.json: {"optim": {"beta1", ...}, "steps": [{"lr", "ids", "targets", "weights"}]}, where the
// last three are arrays of rows of equal length.
#include <cstdio>

#include "src/checkpoint/model_source.h"
#include "src/checkpoint/safetensors.h"
#include "src/io/json.h"
#include "src/optim/optimizer.h"

namespace midfill {
namespace {

// The rows one after the other.
template <typename T>
std::vector<T> flat(const Json& rows) {
  std::vector<T> values;
  for (const Json& row : rows)
    for (const Json& value : row) values.push_back(value.get<T>());
  return values;
}

// Every parameter's view into `arena`, divided by `scale`.
void write(const char* path, const Gpt& model, const Tensor& arena, double scale) {
  std::vector<SafetensorsEntry> entries;
  for (const Parameter& p : model.table().all()) {
    float* values = arena.as<float>() + p.offset;
    for (int64_t i = 0; i < p.numel; ++i) values[i] = static_cast<float>(values[i] / scale);
    entries.push_back(SafetensorsEntry::of(p.name, Tensor(values, DType::f32, p.shape), p.shape));
  }
  write_safetensors(path, entries, {});
}

void run(char** arguments) {
  WeightsSource source = WeightsSource::open(arguments[1]);
  const Json json = parse_json(read_file(arguments[2]), arguments[2]);
  OptimConfig optim;
  optim.beta1 = json["optim"]["beta1"];
  optim.beta2 = json["optim"]["beta2"];
  optim.eps = json["optim"]["eps"];
  optim.weight_decay = json["optim"]["weight_decay"];
  optim.clip = json["optim"]["clip"];

  Device device("cpu", 1);
  // Two rows at once and a short chunk of logits: micro-batches must not change the sum.
  constexpr int64_t kRows = 2;
  Gpt model(source.model, {.max_batch = kRows, .training = true, .head_chunk = 5}, device);
  source.load_weights(model);
  Optimizer optimizer(optim, model);
  bool first = true;
  for (const Json& step : json["steps"]) {
    auto ids = flat<int32_t>(step["ids"]), targets = flat<int32_t>(step["targets"]);
    auto weights = flat<float>(step["weights"]);
    const int64_t B = std::ssize(step["ids"]), T = std::ssize(ids) / B;
    double total = 0;
    for (float weight : weights) total += weight;
    model.zero_grads();
    for (int64_t row = 0; row < B; row += kRows) {
      const int64_t n = std::min(kRows, B - row);
      std::vector<float> losses(static_cast<size_t>(n * T));
      model.forward_backward({.ids = Tensor::of(ids.data() + row * T, {n, T}),
                              .targets = Tensor::of(targets.data() + row * T, {n, T}),
                              .weights = Tensor::of(weights.data() + row * T, {n, T})},
                             losses);
    }
    if (first) {
      write(arguments[3], model, model.grads(), total);
      total = 1.0;  // write() has divided
      first = false;
    }
    optimizer.enqueue_update(step["lr"], total);
  }
  write(arguments[4], model, model.params(), 1.0);
}

}  // namespace
}  // namespace midfill

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  try {
    midfill::run(argv);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_steps: %s\n", error.what());
    return 1;
  }
}
