#include "src/bench/team.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include "src/bench/timing.h"

namespace midfill {

namespace {

double thread_cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

Team::Team(int threads)
    : cpu_s_(threads), errors_(threads), start_(threads + 1), done_(threads + 1) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this, i] { serve(i); });
}

Team::~Team() {
  work_ = nullptr;
  start_.arrive_and_wait();
  for (std::thread& thread : threads_) thread.join();
}

void Team::serve(int thread) {
  while (true) {
    start_.arrive_and_wait();
    if (work_ == nullptr) return;
    const double begin = thread_cpu_seconds();
    try {
      (*work_)(thread);
    } catch (...) {
      errors_[thread] = std::current_exception();
    }
    cpu_s_[thread] = thread_cpu_seconds() - begin;
    done_.arrive_and_wait();
  }
}

Team::Pass Team::run(const std::function<void(int)>& work) {
  work_ = &work;
  const auto begin = std::chrono::steady_clock::now();
  start_.arrive_and_wait();
  done_.arrive_and_wait();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
  for (std::exception_ptr& error : errors_)
    if (error) std::rethrow_exception(std::exchange(error, nullptr));
  Pass pass{.wall_s = wall.count()};
  for (const double seconds : cpu_s_) pass.cpu_s += seconds;
  return pass;
}

std::vector<int> thread_counts(int most) {
  std::vector<int> counts;
  for (int n = 1; n < most; n *= 2) counts.push_back(n);
  counts.push_back(most);
  return counts;
}

Json rates_of(const std::vector<Team::Pass>& passes, double tokens, double bytes) {
  std::vector<double> wall, cpu;
  for (const Team::Pass& pass : passes) {
    wall.push_back(pass.wall_s);
    cpu.push_back(pass.cpu_s);
  }
  Json rates = Json::object();
  const auto add = [&](const std::string& name, double amount) {
    rates[name] = amount / percentile(wall, 0.5);
    rates[name + "_p20"] = amount / percentile(wall, 0.8);
    rates[name + "_p80"] = amount / percentile(wall, 0.2);
  };
  add("tokens_per_s", tokens);
  add("mb_per_s", bytes * 1e-6);
  rates["ns_per_token"] = 1e9 * percentile(wall, 0.5) / tokens;
  rates["cpu_ns_per_token"] = 1e9 * percentile(cpu, 0.5) / tokens;
  rates["cpu_ns_per_byte"] = 1e9 * percentile(cpu, 0.5) / bytes;
  rates["runs"] = passes.size();
  return rates;
}

}  // namespace midfill
