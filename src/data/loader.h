// Batches of samples, prepared ahead of the step that needs them. Step s is samples [s * S, (s + 1)
// * S) of its stream, whatever the number of threads and wherever the loader starts.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "src/data/sample_stream.h"

namespace midfill {

struct BatchStats {
  int64_t dropped = 0, padded = 0, reverted = 0;     // tokens, tokens, segments: as in Sample
  std::array<int64_t, kSegmentKinds> segments = {};  // by SegmentKind
};

// Row r, position t: predict targets[r * n_ctx + t] from ids[r * n_ctx + 0 .. t].
struct SampleBatch {
  int64_t first_sample = 0;
  int64_t rows = 0, n_ctx = 0;
  std::vector<int32_t> ids, targets;  // (rows, n_ctx); targets of weight 0 are valid ids too
  std::vector<float> weights;         // (rows, n_ctx)
  std::vector<int32_t> sources;       // (rows): which source of the stream a row is from
  double total_weight = 0;            // sum of weights
  BatchStats stats;

  // Of host memory, ids, targets and weights of a row.
  static int64_t row_bytes(int64_t n_ctx) { return 12 * n_ctx; }
};

// Samples [first, first + rows) of a stream: all of a step, or the slice of it that a rank or an
// evaluation wants. `batch`'s vectors are reused. Throws Error as the stream does.
void fill_batch(const SampleStream& stream, int64_t first, int64_t rows, SampleBatch& batch);

// What a row adds to the totals of its batch.
struct RowTotals {
  double weight = 0;
  BatchStats stats;
};

// Nothing is allocated once every step's memory has been used once and the threads have met the
// longest sample: each row is written once, by the thread that made it, where the caller reads it.
class Loader {
 public:
  // The stream must outlive the loader. `threads` threads, or as many as the system grants, prepare
  // up to `ahead` steps ahead of the one that the caller holds: ahead + 1 batches in memory.
  Loader(const SampleStream& stream, int64_t batch_samples, int64_t first_step, int threads = 1,
         int ahead = 2);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Waits for the batch of the next step; false where `give_up`, which is asked ten times a second,
  // ended that.
  bool wait(const std::function<bool()>& give_up);

  // The batch of the next step; valid until the following call. Waits where it is not ready yet:
  // the time that this call takes is the step's wait for data. Errors met while preparing a step,
  // that of the first such row, are thrown, as Error, by the call for that step and by all later
  // ones; steps before it are not concerned.
  const SampleBatch& next();

 private:
  struct Slot {
    SampleBatch batch;
    std::vector<RowTotals> totals;
    int64_t done = 0;  // rows
    std::exception_ptr error;
    int64_t error_row = 0;
  };
  Slot& slot_of(int64_t step) { return slots_[static_cast<size_t>(step) % slots_.size()]; }
  void work();
  void stop();

  const SampleStream& stream_;
  const int64_t batch_samples_, ahead_;
  std::vector<Slot> slots_;  // step s is prepared in slot s modulo their number, and read there
  int64_t claimed_;          // the next sample that a thread takes
  int64_t next_;             // the step that next() gives
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable ready_, room_;
  std::vector<std::jthread> threads_;
};

}  // namespace midfill
