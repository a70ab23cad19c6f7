// Batches of samples, prepared ahead of the step that needs them. Step s is samples [s * S, (s + 1)
// * S) of its stream, whatever the number of threads and wherever the loader starts.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
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
  double total_weight = 0;            // sum of weights
  BatchStats stats;
};

// Samples [first, first + rows) of a stream: all of a step, or the slice of it that a rank or an
// evaluation wants. `batch`'s vectors are reused. Throws Error as the stream does.
void fill_batch(const SampleStream& stream, int64_t first, int64_t rows, SampleBatch& batch);

class Loader {
 public:
  // The stream must outlive the loader. `threads` threads prepare up to `ahead` steps ahead of the
  // one that the caller holds.
  Loader(const SampleStream& stream, int64_t batch_samples, int64_t first_step, int threads = 1,
         int ahead = 2);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The batch of the next step; valid until the following call. Waits where it is not ready yet:
  // the time that this call takes is the step's wait for data. An error met while preparing a step
  // is thrown, as Error, by the call for that step and by all later ones.
  const SampleBatch& next();

 private:
  struct Slot {
    std::vector<SampleBatch> rows;  // one sample each
    int64_t claimed = 0, done = 0;
    std::exception_ptr error;
  };
  void work();

  const SampleStream& stream_;
  const int64_t batch_samples_;
  std::vector<Slot> slots_;  // step s is prepared in slot s modulo their number
  SampleBatch batch_;        // what the caller holds
  int64_t filling_;          // the step whose rows are being claimed
  int64_t next_;             // the step that next() gives
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable ready_, room_;
  std::vector<std::thread> threads_;
};

}  // namespace midfill
