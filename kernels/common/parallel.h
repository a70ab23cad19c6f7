// Work split over the threads of a Cpu. Where ranges are cut is a function of the sizes and
// `cpu.threads()` alone, so results that depend on it repeat; which thread does a range is not.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "kernels/common/device.h"

namespace midfill {

// Runs body(begin, end) on disjoint ranges that cover [0, n), as many as there are threads at most.
// Every inner boundary is a multiple of `grain`: choose it so that one grain is worth a thread's
// while, and vector loops are cut alike.
template <typename Body>
void parallel_ranges(const Cpu& cpu, int64_t n, int64_t grain, const Body& body) {
  const int64_t grains = (n + grain - 1) / grain;
  const int parts = static_cast<int>(std::min<int64_t>(cpu.threads(), grains));
  if (parts <= 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  cpu.team().run(parts, [&](int part) {
    body(grains * part / parts * grain, std::min(n, grains * (part + 1) / parts * grain));
  });
}

// Calls body(unit, part) for each unit in [0, n), each handed to the first that is free; units that
// run at the same time have different parts, in [0, cpu.threads()), to tell their scratch memory
// by.
template <typename Body>
void parallel_units(const Cpu& cpu, int64_t n, const Body& body) {
  std::atomic<int64_t> next = 0;
  const int parts = static_cast<int>(std::min<int64_t>(cpu.threads(), n));
  cpu.team().run(parts, [&](int part) {
    for (int64_t unit; (unit = next.fetch_add(1, std::memory_order_relaxed)) < n;) body(unit, part);
  });
}

}  // namespace midfill
