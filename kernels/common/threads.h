// Threads that share the parts of a job. The thread that owns a team takes part in its jobs. Parts
// are taken by whoever is there first, so that a thread which the system keeps from running holds
// nobody up unless it is in the middle of a part.
//
// Threads that wait look for a moment, as the next job of a training step is microseconds away, and
// then sleep: on a machine that is busy with other things a thread that looks keeps the very thread
// from running that it waits for.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace midfill {

class ThreadTeam {
 public:
  // The caller and `threads` - 1 workers, or as many as the system grants; `threads` is 1 to
  // kMostThreads.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  // The caller included.
  int size() const { return static_cast<int>(workers_.size()) + 1; }
  // What the system said where it granted fewer threads than were asked for; else empty.
  const std::string& refusal() const { return refusal_; }

  // Calls body(part) once for each part in [0, parts), parts <= size(), in no particular order, and
  // returns when all are done. Throws what one of them threw, after the others are done. A body
  // that calls run(), and a second thread that does so meanwhile, do their parts one after the
  // other, by themselves.
  template <typename Body>
  void run(int parts, const Body& body) {
    run_job({[](const void* b, int part) { (*static_cast<const Body*>(b))(part); }, &body}, parts);
  }

 private:
  struct Job {
    void (*call)(const void* body, int part);
    const void* body;
  };
  // Number and parts of a job in one word, so that a worker that comes late cannot take one job's
  // for another's. Jobs are numbered from 1; stop() posts the word of all ones.
  struct Post {
    uint64_t word;
    Post(uint64_t job, int parts) : word(job << 16 | static_cast<uint64_t>(parts)) {}
    explicit Post(uint64_t posted) : word(posted) {}
    uint64_t job() const { return word >> 16; }
    int parts() const { return static_cast<int>(word & 0xffff); }
  };
  struct alignas(64) Part {
    std::atomic<uint64_t> taken = 0;  // the last job in which somebody took it
  };
  struct Worker {
    ThreadTeam* team;
    int index;
    pthread_t thread;
  };

  static void* start(void* worker);
  void run_job(const Job& job, int parts);
  void work(int index);
  void take_parts(Post post, int first);

  std::unique_ptr<Part[]> parts_;
  std::vector<Worker> workers_;
  std::string refusal_;
  Job job_{};                          // written before it is posted
  std::exception_ptr error_;           // of a part of the job,
  std::atomic<bool> failed_ = false;   // where this is set
  std::atomic<bool> running_ = false;  // a job
  alignas(64) std::atomic<uint64_t> post_ = 0;
  alignas(64) std::atomic<int> pending_ = 0;  // parts of the job that are not done
};

}  // namespace midfill
