#include "kernels/common/thread_count.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>

#include "kernels/common/cgroup.h"
#include "kernels/common/check.h"

namespace midfill {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int processors_of_mask() {
  // A machine may have more processors than a cpu_set_t has bits.
  for (int most = CPU_SETSIZE; most <= (1 << 20); most *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> mask(
        CPU_ALLOC(static_cast<size_t>(most)), [](cpu_set_t* set) { CPU_FREE(set); });
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(most));
    if (mask && ::sched_getaffinity(0, bytes, mask.get()) == 0)
      return CPU_COUNT_S(bytes, mask.get());
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

// The number that the variable `name` begins with, white space aside, if it is set: in a list the
// later ones are for OpenMP's inner levels.
std::optional<int> number(const char* name, const std::string& value, int least) {
  constexpr std::string_view kSpace = " \t";
  const std::string_view first = std::string_view(value).substr(0, value.find(','));
  const size_t begin = first.find_first_not_of(kSpace);
  if (begin == std::string_view::npos && first.size() == value.size()) return std::nullopt;
  const std::string_view digits =
      begin == std::string_view::npos
          ? ""
          : first.substr(begin, first.find_last_not_of(kSpace) + 1 - begin);
  int found = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), found);
  const bool large = error == std::errc::result_out_of_range && digits[0] != '-';
  require(
      end == digits.data() + digits.size() && (large || (error == std::errc() && found >= least)),
      "{} is \"{}\", expected a whole number from {} up", name, value, least);
  return large ? INT_MAX : found;
}

}  // namespace

ThreadLimits thread_limits() {
  return {.processors = processors_of_mask(),
          .cpu_quota = cgroup_processors(),
          .omp_num_threads = variable("OMP_NUM_THREADS"),
          .omp_thread_limit = variable("OMP_THREAD_LIMIT"),
          .omp_max_active_levels = variable("OMP_MAX_ACTIVE_LEVELS")};
}

ThreadCount thread_count(int asked, const ThreadLimits& limits) {
  require(0 <= asked && asked <= kMostThreads, "threads: {}, expected 0 to {}", asked,
          kMostThreads);
  const auto wanted = number("OMP_NUM_THREADS", limits.omp_num_threads, 1);
  const auto most = number("OMP_THREAD_LIMIT", limits.omp_thread_limit, 1);
  const auto levels = number("OMP_MAX_ACTIVE_LEVELS", limits.omp_max_active_levels, 0);
  ThreadCount count{.threads = asked, .why = {}};
  if (asked == 0) {
    count.threads = wanted ? *wanted : limits.processors;
    if (!wanted && limits.cpu_quota)
      count.threads =
          static_cast<int>(std::min<double>(count.threads, std::ceil(*limits.cpu_quota)));
    count.threads = std::clamp(count.threads, 1, kMostThreads);
  }
  const auto bound = [&](int threads, const std::string& why) {
    if (count.threads > threads) count = {threads, why};
  };
  if (most) bound(*most, fmt::format("OMP_THREAD_LIMIT is {}", *most));
  if (levels == 0) bound(1, "OMP_MAX_ACTIVE_LEVELS is 0");
  return count;
}

int thread_count(int asked) {
  return thread_count(asked, thread_limits()).threads;
}

}  // namespace midfill
