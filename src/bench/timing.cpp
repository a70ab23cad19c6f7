#include "src/bench/timing.h"

#include <algorithm>

#include "kernels/memory.h"
#include "src/bench/machine.h"

namespace midfill {

namespace {

// Larger than the level-2 cache of any GPU.
constexpr int64_t kFlushFloats = int64_t{64} << 20;

}  // namespace

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

Stopwatch::Stopwatch(Device& device) : device_(&device), marks_(device) {
  if (!device.is_cuda() || is_emulated(device)) return;
  flush_memory_ = device.allocate(kFlushFloats * sizeof(float));
  flush_ = Tensor(flush_memory_.data(), DType::f32, {kFlushFloats});
}

double Stopwatch::one_run(const Work& work) {
  if (work.prepare) work.prepare();
  // While a GPU is busy with the flush, the launches of the work reach its queue: what is timed is
  // the device alone.
  if (flush_) device_->run(Fill{.y = flush_, .value = 1.0f});
  marks_.mark();
  work.run();
  marks_.mark();
  return marks_.intervals().front();
}

Timing Stopwatch::measure(const Work& work, const Rule& rule) {
  for (int i = 0; i < rule.warmup; ++i) one_run(work);
  std::vector<double> times;
  double total = 0;
  while (static_cast<int>(times.size()) < rule.min_runs || total < rule.min_ms) {
    times.push_back(one_run(work));
    total += times.back();
  }
  return {.median_ms = percentile(times, 0.5),
          .p20_ms = percentile(times, 0.2),
          .p80_ms = percentile(times, 0.8),
          .runs = static_cast<int>(times.size())};
}

}  // namespace midfill
