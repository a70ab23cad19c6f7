#include "kernels/common/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace midfill {

namespace {

namespace fs = std::filesystem;

bool lists(std::string_view controllers, std::string_view name) {
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == name) return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

// The directories of the groups that `controller` counts this process in, where they exist. Inside
// a container the path may be that of the host, and only the group at the mount's root is there.
std::vector<fs::path> groups(const CgroupPlaces& places, std::string_view controller) {
  std::vector<fs::path> found;
  std::ifstream membership(places.membership);
  // "0::/path" for version 2, "4:cpu,cpuacct:/path" for version 1.
  for (std::string line; std::getline(membership, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    const fs::path group = fs::path(line.substr(second + 1)).lexically_normal();
    std::vector<fs::path> roots;
    if (controllers.empty())
      roots = {places.mount, places.mount / "unified"};
    else if (lists(controllers, controller))
      roots = {places.mount / controller, places.mount / controllers};
    for (const fs::path& root : roots) {
      for (fs::path at = group.relative_path(); !at.empty(); at = at.parent_path())
        found.push_back(root / at);
      found.push_back(root);
    }
  }
  return found;
}

// The first words of a file; none where it cannot be read.
std::vector<std::string> words_of(const fs::path& file) {
  std::ifstream in(file);
  std::vector<std::string> words;
  for (std::string word; words.size() < 2 && in >> word;) words.push_back(word);
  return words;
}

std::optional<uint64_t> number(const std::string& word) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<CgroupMemory> cgroup_memory(const CgroupPlaces& places) {
  // Version 1 writes "no limit" as the largest multiple of the page size.
  constexpr uint64_t kNoLimit = uint64_t{1} << 62;
  std::optional<CgroupMemory> tightest;
  for (const fs::path& group : groups(places, "memory"))
    for (const char* name : {"memory.max", "memory.limit_in_bytes"}) {
      const auto words = words_of(group / name);
      const auto bytes = words.empty() ? std::nullopt : number(words[0]);  // none: "max"
      if (bytes && *bytes < kNoLimit && (!tightest || *bytes < tightest->bytes))
        tightest = CgroupMemory{*bytes, group / name};
    }
  return tightest;
}

std::optional<double> cgroup_processors(const CgroupPlaces& places) {
  std::optional<double> tightest;
  const auto count = [&](const std::optional<uint64_t>& quota,
                         const std::optional<uint64_t>& period) {
    if (!quota || !period || *quota == 0 || *period == 0) return;
    const double processors = static_cast<double>(*quota) / static_cast<double>(*period);
    if (!tightest || processors < *tightest) tightest = processors;
  };
  for (const fs::path& group : groups(places, "cpu")) {
    // "150000 100000" or "max 100000"; in version 1 two files, -1 for no limit.
    const auto both = words_of(group / "cpu.max");
    if (both.size() == 2) count(number(both[0]), number(both[1]));
    const auto quota = words_of(group / "cpu.cfs_quota_us"),
               period = words_of(group / "cpu.cfs_period_us");
    if (!quota.empty() && !period.empty()) count(number(quota[0]), number(period[0]));
  }
  return tightest;
}

}  // namespace midfill
