#include "src/bench/step.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <numeric>
#include <vector>

#include "kernels/common/rng.h"
#include "src/bench/machine.h"
#include "src/bench/marks.h"
#include "src/bench/timing.h"
#include "src/optim/optimizer.h"
#include "src/train/peak.h"
#include "src/train/report.h"

namespace midfill {

namespace {

// Milliseconds of one step's parts, in order: zero_grads, forward_backward, clip_adamw.
using StepTime = std::vector<double>;

double peak_rss_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

// What a configuration of a run refuses is refused here.
Config checked(const StepBench& options) {
  Config config = options.config;
  config.train.batch_tokens =
      int64_t{config.train.micro_batch} * config.model.n_ctx * options.accumulate;
  return parse_config(to_json(config), "bench step");
}

// A micro-batch of random tokens, in host memory that copies to the device reach without a detour.
class RandomBatch {
 public:
  RandomBatch(Device& device, int64_t B, int64_t T) : memory_(device.allocate_host(bytes(B * T))) {
    auto* words = static_cast<int32_t*>(memory_.data());
    auto* floats = reinterpret_cast<float*>(words + 2 * B * T);
    batch_ = {.ids = Tensor::of(words, {B, T}),
              .targets = Tensor::of(words + B * T, {B, T}),
              .weights = Tensor::of(floats, {B, T})};
    losses_ = {floats + B * T, static_cast<size_t>(B * T)};
    std::fill_n(floats, B * T, 1.0f);
  }

  void draw(Rng& rng, int vocab_size) {
    const int64_t B = batch_.ids.dim(0), T = batch_.ids.dim(1);
    std::vector<int32_t> tokens(static_cast<size_t>(B * (T + 1)));
    for (int32_t& token : tokens)
      token = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab_size)));
    for (int64_t n = 0; n < B * T; ++n) {
      const int32_t* token = tokens.data() + n / T * (T + 1) + n % T;
      batch_.ids.as<int32_t>()[n] = token[0];
      batch_.targets.as<int32_t>()[n] = token[1];
    }
  }

  const Batch& batch() const { return batch_; }
  std::span<float> losses() const { return losses_; }
  double loss() const { return weighted_sum(batch_, losses_); }

 private:
  static size_t bytes(int64_t N) { return static_cast<size_t>(N) * 4 * sizeof(float); }

  Buffer memory_;
  Batch batch_;
  std::span<float> losses_;
};

struct Measured {
  std::vector<StepTime> times;
  std::vector<double> losses;  // nats per token, of every step
};

Measured run_steps(const StepBench& options, const Config& config, Gpt& model,
                   Optimizer& optimizer) {
  Device& device = model.device();
  std::vector<RandomBatch> batches;
  for (int i = 0; i < options.accumulate; ++i)
    batches.emplace_back(device, config.train.micro_batch, config.model.n_ctx);
  const auto tokens = static_cast<double>(config.train.batch_tokens);
  Marks marks(device);
  Measured measured;
  for (int step = 0; step < options.warmup + options.steps; ++step) {
    Rng rng(config.seed, Purpose::kBench, 0, static_cast<uint64_t>(step));
    for (RandomBatch& batch : batches) batch.draw(rng, config.model.vocab_size);
    marks.mark();
    model.zero_grads();
    marks.mark();
    for (const RandomBatch& batch : batches)
      model.enqueue_forward_backward(batch.batch(), batch.losses().data());
    marks.mark();
    optimizer.enqueue_update(config.optim.lr, tokens);
    marks.mark();
    const StepTime time = marks.intervals();
    if (step >= options.warmup) measured.times.push_back(time);
    double loss = 0;
    for (const RandomBatch& batch : batches) loss += batch.loss();
    measured.losses.push_back(loss / tokens);
  }
  return measured;
}

// Device memory of the model as its table counts it, and what ops take beside it.
double device_mib(const Gpt& model) {
  auto bytes = static_cast<double>(model.device().cuda().workspace_bytes());
  for (const MemoryLine& line : model.memory()) bytes += static_cast<double>(line.bytes);
  return bytes / 0x1p20;
}

double total(const StepTime& time) {
  return std::accumulate(time.begin(), time.end(), 0.0);
}

// Of the steps, `share` of which take no longer.
template <typename Part>
double milliseconds(const std::vector<StepTime>& times, double share, Part part) {
  std::vector<double> values;
  for (const StepTime& time : times) values.push_back(part(time));
  return percentile(values, share);
}

void add_rates(Json& report, const std::vector<StepTime>& times, const Config& config,
               Device& device) {
  const auto tokens_per_s = [&](double share) {
    return 1e3 * static_cast<double>(config.train.batch_tokens) / milliseconds(times, share, total);
  };
  const FlopsPerToken flops = flops_per_token(config.model);
  report["tokens_per_s"] = tokens_per_s(0.5);
  report["tokens_per_s_p20"] = tokens_per_s(0.8);
  report["tokens_per_s_p80"] = tokens_per_s(0.2);
  report["tokens_per_s_best"] = tokens_per_s(0.0);
  report["gflops_causal"] = tokens_per_s(0.5) * flops.causal * 1e-9;
  report["gflops_full"] = tokens_per_s(0.5) * flops.full * 1e-9;
  const Peak peak = peak_of(device, config.train.dtype);
  if (!(peak.tflops > 0)) return;
  report["mfu_causal"] = tokens_per_s(0.5) * flops.causal * 1e-12 / peak.tflops;
  report["mfu_full"] = tokens_per_s(0.5) * flops.full * 1e-12 / peak.tflops;
  report["peak_tflops"] = peak.tflops;
  report["peak_source"] = peak.source;
}

void add_times(Json& report, const std::vector<StepTime>& times) {
  report["ms_step"] = milliseconds(times, 0.5, total);
  constexpr const char* kParts[] = {"ms_zero_grads", "ms_forward_backward", "ms_clip_adamw"};
  for (size_t i = 0; i < std::size(kParts); ++i)
    report[kParts[i]] = milliseconds(times, 0.5, [i](const StepTime& time) { return time[i]; });
}

}  // namespace

StepBench::StepBench() {
  config.model = {.n_ctx = 256,
                  .vocab_size = 4096,
                  .rotary_pct = 0.25,
                  .parallel_residual = true,
                  .activation = Activation::gelu_erf,
                  .init = Init::neox};
  config.optim.lr = 3e-4;
  config.train.micro_batch = 8;
  config.train.threads = 2;
}

Json run_step_bench(const StepBench& options, bool measure) {
  const Config config = checked(options);
  const FlopsPerToken flops = flops_per_token(config.model);
  Device device(options.device, config.train.threads);
  Json report = {{"bench", "step"}, {"program", "midfill"}};
  if (measure) {
    Gpt model(config.model, training_options(config), device);
    initialize(model, config.seed);
    Optimizer optimizer(config.optim, model);
    const Measured measured = run_steps(options, config, model, optimizer);
    if (!is_emulated(device)) add_rates(report, measured.times, config, device);
    add_times(report, measured.times);
    report["parameters"] = model.table().count();
    report["threads"] = device.cpu().threads();
    report["peak_rss_mib"] = peak_rss_mib();
    if (device.is_cuda()) report["peak_device_mib"] = device_mib(model);
    report["loss_first"] = measured.losses.front();
    report["loss_last"] = measured.losses.back();
  }
  report.update(describe_machine(device));
  const Json settings = Json::parse(to_json(config));
  report["dtype"] = name_of(config.train.dtype);
  report["batch"] = config.train.micro_batch;
  report["accumulate"] = options.accumulate;
  report["steps"] = options.steps;
  report["warmup"] = options.warmup;
  report["seed"] = config.seed;
  report["flop_per_token_causal"] = flops.causal;
  report["flop_per_token_full"] = flops.full;
  report["model"] = settings.at("model");
  report["optim"] = settings.at("optim");
  report["recompute"] = settings.at("train").at("recompute");
  return report;
}

std::string step_bench_text(const Json& report) {
  std::string text = machine_text(report) + "\n";
  for (const auto& [key, value] : report.items()) {
    if (value.is_object() || key == "bench" || key == "program" || key == "commit") continue;
    text += fmt::format("{:22} {}\n", key,
                        value.is_number_float() ? fmt::format("{:.6g}", value.get<double>())
                        : value.is_string()     ? value.get<std::string>()
                                                : value.dump());
  }
  return text;
}

}  // namespace midfill
