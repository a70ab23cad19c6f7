// Work split over the threads of a Cpu. The split is a function of the sizes and `cpu.threads()`
// alone, not of how many threads the machine grants, so results that depend on it repeat.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/device.h"

namespace midfill {

// Runs body(begin, end) on disjoint ranges that cover [0, n), at most one per thread. Every inner
// boundary is a multiple of `grain`: choose it so that one grain is worth a thread's while, and
// vector loops are cut alike. `body` must not throw.
template <typename Body>
void parallel_ranges(const Cpu& cpu, int64_t n, int64_t grain, const Body& body) {
  const int64_t grains = (n + grain - 1) / grain;
  const int parts = static_cast<int>(std::min<int64_t>(cpu.threads(), grains));
  if (parts <= 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
#pragma omp parallel for schedule(static, 1) num_threads(parts)
  for (int part = 0; part < parts; ++part)
    body(grains * part / parts * grain, std::min(n, grains * (part + 1) / parts * grain));
}

}  // namespace midfill
