#include "kernels/common/memory_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "kernels/common/cgroup.h"

namespace midfill {

namespace {

uint64_t page_bytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE));
}

// Bytes of this process: mapped, resident, and private and writable.
struct InUse {
  uint64_t mapped = 0, resident = 0, data = 0;
  InUse() {
    uint64_t shared = 0, text = 0, library = 0;
    std::ifstream("/proc/self/statm") >> mapped >> resident >> shared >> text >> library >> data;
    for (uint64_t* pages : {&mapped, &resident, &data}) *pages *= page_bytes();
  }
};

void add_ulimit(int resource, char letter, uint64_t used, std::vector<MemoryLimit>& limits) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY)
    return;
  limits.push_back(
      {limit.rlim_cur, used, fmt::format("ulimit -{} is {} KiB", letter, limit.rlim_cur / 1024)});
}

MemoryLimit find_physical_memory() {
  const uint64_t machine = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * page_bytes();
  if (const auto group = cgroup_memory(); group && group->bytes < machine)
    return {group->bytes, 0, fmt::format("{} is {} bytes", group->file.string(), group->bytes)};
  return {machine, 0, fmt::format("this machine has {} bytes", machine)};
}

}  // namespace

const MemoryLimit& physical_memory() {
  static const MemoryLimit limit = find_physical_memory();
  return limit;
}

MemoryLimit memory_limit() {
  const InUse in_use;
  std::vector<MemoryLimit> limits = {physical_memory()};
  limits[0].used = in_use.resident;
  add_ulimit(RLIMIT_AS, 'v', in_use.mapped, limits);
  add_ulimit(RLIMIT_DATA, 'd', in_use.data, limits);
  MemoryLimit tightest = limits[0];
  for (const MemoryLimit& limit : limits)
    if (limit.left() < tightest.left()) tightest = limit;
  return tightest;
}

std::string out_of_memory(size_t bytes) {
  const MemoryLimit limit = memory_limit();
  return fmt::format("out of memory: cannot allocate {} bytes beside {} in use: {}", bytes,
                     limit.used, limit.text);
}

std::string system_error_text(int error) {
  std::string text = std::strerror(error);
  if (error == ENOMEM) text += ": " + memory_limit().text;
  return text;
}

}  // namespace midfill
