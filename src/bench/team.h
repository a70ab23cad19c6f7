// Threads that pass over the same work again and again, so that what a thread keeps to itself (the
// tokenizer's cache of pieces) is warm after the first pass, as it is in a long run.
#pragma once

#include <barrier>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "src/io/json.h"

namespace midfill {

class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  struct Pass {
    double wall_s = 0;  // until the last thread is done
    double cpu_s = 0;   // of all threads together: what other programs on the machine do not change
  };
  // Calls work(thread) once on each thread, 0 to threads - 1. Throws what one of them threw.
  Pass run(const std::function<void(int)>& work);

 private:
  void serve(int thread);

  const std::function<void(int)>* work_ = nullptr;  // null at a start: the end
  std::vector<double> cpu_s_;                       // of each thread in the last pass
  std::vector<std::exception_ptr> errors_;
  std::barrier<> start_, done_;
  std::vector<std::thread> threads_;
};

// 1, 2, 4, ... and `most`, ascending: the numbers of threads that a bench goes through.
std::vector<int> thread_counts(int most);

// Of passes over `tokens` tokens and `bytes` bytes: tokens_per_s and mb_per_s (10^6 bytes), medians
// with _p20 and _p80, ns_per_token, cpu_ns_per_token and cpu_ns_per_byte (medians), runs.
Json rates_of(const std::vector<Team::Pass>& passes, double tokens, double bytes);

}  // namespace midfill
