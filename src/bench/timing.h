// How long work on a device takes: warm-up, then runs until there are enough of them, each by
// itself; on `cuda` between two marks on the stream, with the level-2 cache flushed before each.
#pragma once

#include <functional>
#include <vector>

#include "kernels/common/device.h"
#include "src/bench/marks.h"

namespace midfill {

// The value that `share` of the values do not exceed; at least one value.
double percentile(std::vector<double> values, double share);

struct Timing {
  double median_ms = 0, p20_ms = 0, p80_ms = 0;
  int runs = 0;
};

// What is measured. `prepare` (optional) comes before each run and is not timed: it restores
// operands that a run overwrites.
struct Work {
  std::function<void()> run;
  std::function<void()> prepare;
};

class Stopwatch {
 public:
  struct Rule {
    double min_ms = 100.0;  // all runs together
    int min_runs = 10;
    int warmup = 3;
  };

  explicit Stopwatch(Device& device);

  Timing measure(const Work& work, const Rule& rule);

 private:
  double one_run(const Work& work);

  Device* device_;
  Marks marks_;
  Buffer flush_memory_;
  Tensor flush_;  // on a GPU
};

}  // namespace midfill
