#include "kernels/simt/place.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

namespace midfill::simt {
namespace {

// A site is its index with the top bit set; an address is its distance from this code.
constexpr uint32_t kSite = 1u << 31;
constexpr int64_t kReach = 1 << 30;

std::vector<Site>& sites() {
  static std::vector<Site> all;
  return all;
}

intptr_t anchor() {
  return reinterpret_cast<intptr_t>(&anchor);
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// The innermost "path:line" of the inlined calls at an address that is not in this emulation.
std::string source_line(uintptr_t address) {
  const auto command =
      fmt::format("addr2line -i -e /proc/{}/exe {:#x} 2>/dev/null", getpid(), address);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (!pipe) return "";
  char buffer[4096];
  std::string text(buffer, fread(buffer, 1, sizeof(buffer), pipe.get()));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.find("kernels/simt/") == std::string::npos && line.find('?') == std::string::npos)
      return std::string(base_name(line.substr(0, line.find(' '))));
  return "";
}

}  // namespace

Place place_of(const Site& site) {
  auto& all = sites();
  for (size_t i = 0; i < all.size(); ++i)
    if (same_place(all[i], site)) return Place{kSite | static_cast<uint32_t>(i)};
  all.push_back(site);
  return Place{kSite | static_cast<uint32_t>(all.size() - 1)};
}

Place place_of(const void* return_address) {
  const int64_t distance = reinterpret_cast<intptr_t>(return_address) - anchor();
  if (distance <= -kReach || distance >= kReach) return Place::unknown;
  return Place{static_cast<uint32_t>(distance + kReach)};
}

bool same_place(const Site& a, const Site& b) {
  return a.line() == b.line() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string describe(const Site& site) {
  return fmt::format("{}:{}", base_name(site.file_name()), site.line());
}

std::string describe(Place place) {
  const auto value = static_cast<uint32_t>(place);
  if (place == Place::unknown) return "an unknown place";
  if (value & kSite) return describe(sites()[value & ~kSite]);
  const intptr_t call = anchor() + (int64_t{value} - kReach) - 1;  // inside the call itself
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(call), &info) && info.dli_fname) {
    const intptr_t base = reinterpret_cast<intptr_t>(info.dli_fbase);
    // Programs at a fixed address are named by addresses, all others by distances from their base.
    for (const intptr_t address : {call - base, call})
      if (auto line = source_line(static_cast<uintptr_t>(address)); !line.empty()) return line;
  }
  return fmt::format("{:#x}", call);
}

}  // namespace midfill::simt
