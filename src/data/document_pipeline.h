// From files to what becomes of their documents: one thread reads and decompresses, several take
// documents out of blocks and work on them, and the calling thread takes the blocks away in the
// order of the input. What `data build` and `tokenizer train` read, they read by this.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/common/start_threads.h"
#include "src/data/documents.h"
#include "src/data/ordered_queue.h"

namespace midfill {

// A block on its way: the reader fills `block`, a worker the rest.
template <typename Product>
struct DocumentJob {
  InputBlock block;
  BlockCounts read;
  Product product{};
  std::exception_ptr error;
};

template <typename Product>
struct DocumentPipeline {
  using Job = DocumentJob<Product>;
  using Work = std::function<void(std::string_view text, Product& product)>;

  const std::vector<InputFileInfo>& files;
  const DocumentOptions& documents;
  int threads;                           // that work
  InputPosition from = {};               // as BlockReader takes it
  std::function<bool()> stop = nullptr;  // true ends a wait for standard input
  std::function<Work(int thread)> work;  // makes what a thread does with each document
  std::function<bool(Job& job)> take;    // of each block, on the calling thread; false: no more

  // Until the input ends or `take` has enough. Memory is bounded: two blocks a thread, and a few
  // more. Throws what reader, workers and `take` throw, in the order of the input.
  void run() const {
    // Two blocks a worker, so that none waits for another; a few more for reader and taker.
    OrderedQueue<Job> queue(BlockReader::kBlockBytes * static_cast<size_t>(2 * threads + 4));
    std::atomic<bool> closed = false;
    std::vector<std::jthread> pool;
    struct Close {
      OrderedQueue<Job>& queue;
      std::atomic<bool>& closed;
      ~Close() {
        closed = true;
        queue.close();
      }
    };
    const Close close_before_the_threads_are_joined{queue, closed};
    start_threads(pool, 1, [&](int) { read_into(queue, closed); });
    start_threads(pool, threads, [&](int thread) { work_on(queue, thread); });
    while (const auto job = queue.next()) {
      if (job->error) std::rethrow_exception(job->error);
      if (!take(*job)) return;
    }
  }

 private:
  void read_into(OrderedQueue<Job>& queue, const std::atomic<bool>& closed) const {
    auto job = std::make_unique<Job>();
    try {
      BlockReader reader(files, documents, from, [&] { return closed || (stop && stop()); });
      while (reader.next(job->block)) {
        const size_t cost = job->block.cost(files);
        if (!queue.push(std::move(job), cost)) return;
        job = std::make_unique<Job>();
      }
    } catch (...) {
      // In its place in the order: what was read before is taken first.
      job->error = std::current_exception();
      queue.push(std::move(job), 0);
    }
    queue.end_of_jobs();
  }

  void work_on(OrderedQueue<Job>& queue, int thread) const {
    BlockParser parser(files, documents);
    const Work use = work(thread);
    while (Job* job = queue.take()) {
      try {
        if (!job->error)
          job->read =
              parser.parse(job->block, [&](std::string_view text) { use(text, job->product); });
        std::string().swap(job->block.lines);
      } catch (...) {
        job->error = std::current_exception();
      }
      queue.done(job);
    }
  }
};

}  // namespace midfill
