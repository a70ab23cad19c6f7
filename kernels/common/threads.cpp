#include "kernels/common/threads.h"

#include <chrono>
#include <cstring>

#include "kernels/common/check.h"
#include "kernels/common/thread_count.h"

namespace midfill {

namespace {

// OpenBLAS keeps some kilobytes on the stack, nothing here more; the usual 8 MiB each would count
// under `ulimit -v`.
constexpr size_t kStackBytes = size_t{1} << 20;
constexpr uint64_t kStop = UINT64_MAX;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// How long to look: much longer than the gaps between the ops of a step, much shorter than what a
// scheduler gives a thread at once.
constexpr std::chrono::microseconds kLook{1000};

// Waits until `value` satisfies `good`: looking first, then asleep.
template <typename T, typename Good>
T wait_until(const std::atomic<T>& value, const Good& good) {
  using Clock = std::chrono::steady_clock;
  const auto look = [&](int times) {
    T found = value.load(std::memory_order_acquire);
    for (int i = 0; i < times && !good(found); ++i) {
      pause();
      found = value.load(std::memory_order_acquire);
    }
    return found;
  };
  T found = look(64);  // without asking for the time
  if (good(found)) return found;
  const auto end = Clock::now() + kLook;
  while (Clock::now() < end)
    if (good(found = look(32))) return found;
  for (found = value.load(std::memory_order_acquire); !good(found);
       found = value.load(std::memory_order_acquire))
    value.wait(found, std::memory_order_acquire);
  return found;
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) {
  require(1 <= threads && threads <= kMostThreads, "a team of {} threads, expected 1 to {}",
          threads, kMostThreads);
  parts_ = std::make_unique<Part[]>(static_cast<size_t>(threads));
  workers_.reserve(static_cast<size_t>(threads));  // each thread keeps a pointer into it
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  while (size() < threads) {
    Worker& worker = workers_.emplace_back(Worker{this, size(), {}});
    const int failed = pthread_create(&worker.thread, &attributes, start, &worker);
    if (failed == 0) continue;
    workers_.pop_back();
    refusal_ = std::strerror(failed);
    break;
  }
  pthread_attr_destroy(&attributes);
}

ThreadTeam::~ThreadTeam() {
  post_.store(kStop, std::memory_order_release);
  post_.notify_all();
  for (const Worker& worker : workers_) pthread_join(worker.thread, nullptr);
}

void* ThreadTeam::start(void* worker) {
  const Worker& self = *static_cast<const Worker*>(worker);
  self.team->work(self.index);
  return nullptr;
}

void ThreadTeam::run_job(const Job& job, int parts) {
  if (parts <= 1 || workers_.empty() || running_.exchange(true, std::memory_order_acquire)) {
    for (int part = 0; part < parts; ++part) job.call(job.body, part);
    return;
  }
  job_ = job;
  pending_.store(parts, std::memory_order_relaxed);
  const Post post(Post(post_.load(std::memory_order_relaxed)).job() + 1, parts);
  post_.store(post.word, std::memory_order_release);
  post_.notify_all();
  take_parts(post, 0);
  wait_until(pending_, [](int left) { return left == 0; });
  std::exception_ptr error;
  if (failed_.exchange(false)) std::swap(error, error_);
  running_.store(false, std::memory_order_release);
  if (error) std::rethrow_exception(error);
}

void ThreadTeam::work(int index) {
  for (Post now(0, 0); now.word != kStop; take_parts(now, index))
    now = Post(wait_until(post_, [&](uint64_t word) { return word != now.word; }));
}

// Those of the job that nobody has taken, from `first` on around. A worker that comes when the job
// is over finds that each part has been taken in it or later, and touches nothing of the next one.
void ThreadTeam::take_parts(Post post, int first) {
  if (post.word == kStop) return;
  for (int i = 0; i < post.parts(); ++i) {
    const int part = (first + i) % post.parts();
    std::atomic<uint64_t>& taken = parts_[static_cast<size_t>(part)].taken;
    uint64_t before = taken.load(std::memory_order_relaxed);
    if (before >= post.job() ||
        !taken.compare_exchange_strong(before, post.job(), std::memory_order_acquire,
                                       std::memory_order_relaxed))
      continue;
    try {
      job_.call(job_.body, part);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_all();
  }
}

}  // namespace midfill
