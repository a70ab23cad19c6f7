#include "src/data/loader.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <span>

#include "kernels/common/check.h"
#include "kernels/common/start_threads.h"

namespace midfill {

namespace {

void resize(SampleBatch& batch, int64_t rows, int64_t n_ctx) {
  batch.rows = rows;
  batch.n_ctx = n_ctx;
  batch.ids.resize(rows * n_ctx);
  batch.targets.resize(rows * n_ctx);
  batch.weights.resize(rows * n_ctx);
  batch.sources.resize(rows);
}

// In the same order of additions on every machine, in eight lanes so that it takes vectors.
double sum_of(const float* x, int64_t n) {
  constexpr int64_t kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane];
  for (int64_t lane = 0; i < n; ++i, ++lane) lanes[lane] += x[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

RowTotals fill_row(const SampleStream& stream, int64_t index, int64_t row, SampleBatch& batch) {
  thread_local Sample sample;
  stream.get(index, sample);
  const int64_t n = batch.n_ctx;
  require(std::ssize(sample.tokens) == n + 1 && std::ssize(sample.weights) == n + 1,
          "sample {}: found {} tokens with {} weights, expected {}", index, sample.tokens.size(),
          sample.weights.size(), n + 1);
  std::copy_n(sample.tokens.data(), n, batch.ids.data() + row * n);
  std::copy_n(sample.tokens.data() + 1, n, batch.targets.data() + row * n);
  std::copy_n(sample.weights.data() + 1, n, batch.weights.data() + row * n);
  batch.sources[row] = sample.source;
  RowTotals totals = {
      .weight = sum_of(sample.weights.data() + 1, n),
      .stats = {.dropped = sample.dropped, .padded = sample.padded, .reverted = sample.reverted}};
  for (const Segment& segment : sample.segments)
    ++totals.stats.segments[static_cast<size_t>(segment.kind)];
  return totals;
}

// Row by row, so that sums do not depend on who made which row.
void add_up(std::span<const RowTotals> rows, SampleBatch& batch) {
  batch.total_weight = 0;
  batch.stats = {};
  for (const RowTotals& row : rows) {
    batch.total_weight += row.weight;
    batch.stats.dropped += row.stats.dropped;
    batch.stats.padded += row.stats.padded;
    batch.stats.reverted += row.stats.reverted;
    for (int kind = 0; kind < kSegmentKinds; ++kind)
      batch.stats.segments[kind] += row.stats.segments[kind];
  }
}

}  // namespace

void fill_batch(const SampleStream& stream, int64_t first, int64_t rows, SampleBatch& batch) {
  require(first >= 0 && rows > 0, "no batch of {} samples from sample {}", rows, first);
  resize(batch, rows, stream.n_ctx());
  batch.first_sample = first;
  thread_local std::vector<RowTotals> totals;
  totals.clear();
  for (int64_t row = 0; row < rows; ++row)
    totals.push_back(fill_row(stream, first + row, row, batch));
  add_up(totals, batch);
}

Loader::Loader(const SampleStream& stream, int64_t batch_samples, int64_t first_step, int threads,
               int ahead)
    : stream_(stream),
      batch_samples_(batch_samples),
      ahead_(ahead),
      claimed_(first_step * batch_samples),
      next_(first_step) {
  require(
      batch_samples > 0 && first_step >= 0 && threads > 0 && ahead > 0,
      "loader: found {} samples a step, first step {}, {} threads, {} steps ahead; expected all "
      "positive, the first step at least 0",
      batch_samples, first_step, threads, ahead);
  slots_.resize(ahead + 1);
  for (Slot& slot : slots_) {
    resize(slot.batch, batch_samples, stream.n_ctx());
    slot.totals.resize(batch_samples);
  }
  start_threads(threads_, threads, [this](int) { work(); });
}

Loader::~Loader() {
  stop();
}

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  room_.notify_all();
  threads_.clear();  // joins them
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    // The batch that the caller holds, of step next_ - 1, is not among those from next_ on.
    room_.wait(lock, [&] { return stop_ || claimed_ < (next_ + ahead_) * batch_samples_; });
    if (stop_) return;
    const int64_t sample = claimed_++, row = sample % batch_samples_;
    Slot& slot = slot_of(sample / batch_samples_);

    lock.unlock();
    std::exception_ptr error;
    try {
      slot.totals[row] = fill_row(stream_, sample, row, slot.batch);
    } catch (const Error&) {
      error = std::current_exception();
    } catch (const std::exception& other) {
      error = std::make_exception_ptr(Error(fmt::format("sample {}: {}", sample, other.what())));
    }
    lock.lock();
    if (error && (!slot.error || row < slot.error_row)) {
      slot.error = error;
      slot.error_row = row;
    }
    if (++slot.done == batch_samples_) ready_.notify_one();
  }
}

bool Loader::wait(const std::function<bool()>& give_up) {
  const Slot& slot = slot_of(next_);
  std::unique_lock lock(mutex_);
  while (!ready_.wait_for(lock, std::chrono::milliseconds(100),
                          [&] { return slot.done == batch_samples_; }))
    if (give_up()) return false;
  return true;
}

const SampleBatch& Loader::next() {
  Slot& slot = slot_of(next_);
  {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return slot.done == batch_samples_; });
    if (slot.error) std::rethrow_exception(slot.error);
    slot.done = 0;  // no thread comes here again before the following call
    ++next_;
  }
  room_.notify_all();
  slot.batch.first_sample = (next_ - 1) * batch_samples_;
  add_up(slot.totals, slot.batch);
  return slot.batch;
}

}  // namespace midfill
