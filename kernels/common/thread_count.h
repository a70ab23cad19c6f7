// How many threads a command may use.
#pragma once

#include <optional>
#include <string>

namespace midfill {

inline constexpr int kMostThreads = 4096;

// What bounds them. The variables of OpenMP are those that batch systems and launchers set; midfill
// obeys them without OpenMP.
struct ThreadLimits {
  int processors = 1;               // that the process may run on
  std::optional<double> cpu_quota;  // of its cgroups, in processors
  std::string omp_num_threads;      // as the environment has them; empty: not set
  std::string omp_thread_limit;
  std::string omp_max_active_levels;
};
ThreadLimits thread_limits();  // of this process

struct ThreadCount {
  int threads = 1;
  std::string why;  // where there are fewer than asked for: "OMP_THREAD_LIMIT is 1"
};

// `asked` threads, or for 0 OMP_NUM_THREADS, or without that as many as there are processors,
// rounded up where the quota is a fraction of one. No more than OMP_THREAD_LIMIT; one where
// OMP_MAX_ACTIVE_LEVELS is 0. At most kMostThreads. Throws Error for a variable that is no such
// number.
ThreadCount thread_count(int asked, const ThreadLimits& limits);
int thread_count(int asked = 0);  // in this process

}  // namespace midfill
