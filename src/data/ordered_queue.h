// Jobs that one thread brings, several threads do, each when it can, and one thread takes away in
// the order they came.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

namespace midfill {

// Bounded: what the jobs inside cost together stays within `budget`, except that a single job may
// cost more. Every waiting call returns at once when the queue is closed.
template <typename Job>
class OrderedQueue {
 public:
  explicit OrderedQueue(size_t budget) : budget_(budget) {}

  // Waits for room. False: the queue was closed.
  bool push(std::unique_ptr<Job> job, size_t cost) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || used_ == 0 || used_ + cost <= budget_; });
    if (closed_) return false;
    used_ += cost;
    slots_.push_back({std::move(job), cost, false});
    changed_.notify_all();
    return true;
  }
  void end_of_jobs() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  // A job to do, then done(it); nullptr: none will come.
  Job* take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || ended_ || taken_ < slots_.size(); });
    if (closed_ || taken_ == slots_.size()) return nullptr;
    return slots_[taken_++].job.get();
  }
  void done(const Job* job) {
    const std::scoped_lock lock(mutex_);
    for (Slot& slot : slots_)
      if (slot.job.get() == job) slot.done = true;
    changed_.notify_all();
  }

  // The next job in order, done; nullptr at the end. Its cost counts until the next call.
  std::unique_ptr<Job> next() {
    std::unique_lock lock(mutex_);
    used_ -= std::exchange(leaving_, 0);
    changed_.notify_all();
    changed_.wait(lock, [&] { return closed_ || (slots_.empty() ? ended_ : slots_.front().done); });
    if (closed_ || slots_.empty()) return nullptr;
    auto job = std::move(slots_.front().job);
    leaving_ = slots_.front().cost;
    slots_.pop_front();
    --taken_;
    return job;
  }

  void close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  struct Slot {
    std::unique_ptr<Job> job;
    size_t cost;
    bool done;
  };
  size_t budget_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Slot> slots_;
  size_t taken_ = 0;  // slots_[0, taken_) are with their workers or done
  size_t used_ = 0, leaving_ = 0;
  bool ended_ = false, closed_ = false;
};

}  // namespace midfill
