// What the control groups of this process, in a container or under a batch system, let it have.
// Both versions of Linux' control groups; of a group and those above it the tightest counts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace midfill {

// Where to look; tests give other places.
struct CgroupPlaces {
  std::filesystem::path membership = "/proc/self/cgroup", mount = "/sys/fs/cgroup";
};

struct CgroupMemory {
  uint64_t bytes;
  std::filesystem::path file;  // that says so
};
// Nothing where there is no limit.
std::optional<CgroupMemory> cgroup_memory(const CgroupPlaces& places = {});

// Processors' worth of time: 1.5 where all threads together may run for 150 ms in every 100 ms.
std::optional<double> cgroup_processors(const CgroupPlaces& places = {});

}  // namespace midfill
