#include "src/data/loader.h"

#include <algorithm>

#include "kernels/common/check.h"

namespace midfill {

namespace {

void resize(SampleBatch& batch, int64_t first, int64_t rows, int64_t n_ctx) {
  batch.first_sample = first;
  batch.rows = rows;
  batch.n_ctx = n_ctx;
  batch.ids.resize(rows * n_ctx);
  batch.targets.resize(rows * n_ctx);
  batch.weights.resize(rows * n_ctx);
  batch.total_weight = 0;
  batch.stats = {};
}

void set_row(SampleBatch& batch, int64_t row, const Sample& sample) {
  const int64_t n = batch.n_ctx;
  require(static_cast<int64_t>(sample.tokens.size()) == n + 1,
          "sample {}: found {} tokens, expected {}", sample.index, sample.tokens.size(), n + 1);
  std::copy_n(sample.tokens.begin(), n, batch.ids.begin() + row * n);
  std::copy_n(sample.tokens.begin() + 1, n, batch.targets.begin() + row * n);
  std::copy_n(sample.weights.begin() + 1, n, batch.weights.begin() + row * n);
  for (int64_t t = 1; t <= n; ++t) batch.total_weight += sample.weights[t];
  batch.stats.dropped += sample.dropped;
  batch.stats.padded += sample.padded;
  batch.stats.reverted += sample.reverted;
  for (const Segment& segment : sample.segments)
    ++batch.stats.segments[static_cast<size_t>(segment.kind)];
}

}  // namespace

void fill_batch(const SampleStream& stream, int64_t first, int64_t rows, SampleBatch& batch) {
  require(first >= 0 && rows > 0, "no batch of {} samples from sample {}", rows, first);
  thread_local Sample sample;
  for (int64_t row = 0; row < rows; ++row) {
    stream.get(first + row, sample);
    if (row == 0) resize(batch, first, rows, static_cast<int64_t>(sample.tokens.size()) - 1);
    set_row(batch, row, sample);
  }
}

Loader::Loader(const SampleStream& stream, int64_t batch_samples, int64_t first_step, int threads,
               int ahead)
    : stream_(stream), batch_samples_(batch_samples), filling_(first_step), next_(first_step) {
  require(
      batch_samples > 0 && first_step >= 0 && threads > 0 && ahead > 0,
      "loader: found {} samples a step, first step {}, {} threads, {} steps ahead; expected all "
      "positive, the first step at least 0",
      batch_samples, first_step, threads, ahead);
  slots_.resize(ahead);
  for (Slot& slot : slots_) slot.rows.resize(batch_samples);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  room_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Loader::work() {
  const auto ahead = static_cast<int64_t>(slots_.size());
  std::unique_lock lock(mutex_);
  while (true) {
    room_.wait(lock, [&] { return stop_ || filling_ < next_ + ahead; });
    if (stop_) return;
    const int64_t step = filling_;
    Slot& slot = slots_[step % ahead];
    const int64_t row = slot.claimed++;
    if (slot.claimed == batch_samples_) ++filling_;

    lock.unlock();
    std::exception_ptr error;
    try {
      fill_batch(stream_, step * batch_samples_ + row, 1, slot.rows[row]);
    } catch (const Error&) {
      error = std::current_exception();
    } catch (const std::exception& other) {
      error = std::make_exception_ptr(
          Error(fmt::format("sample {}: {}", step * batch_samples_ + row, other.what())));
    }
    lock.lock();
    if (error && !slot.error) slot.error = error;
    if (++slot.done == batch_samples_) ready_.notify_all();
  }
}

const SampleBatch& Loader::next() {
  const auto ahead = static_cast<int64_t>(slots_.size());
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[next_ % ahead];
  ready_.wait(lock, [&] { return slot.done == batch_samples_; });
  if (slot.error) std::rethrow_exception(slot.error);

  const int64_t n = slot.rows[0].n_ctx;
  resize(batch_, next_ * batch_samples_, batch_samples_, n);
  for (int64_t r = 0; r < batch_samples_; ++r) {
    const SampleBatch& row = slot.rows[r];
    std::copy(row.ids.begin(), row.ids.end(), batch_.ids.begin() + r * n);
    std::copy(row.targets.begin(), row.targets.end(), batch_.targets.begin() + r * n);
    std::copy(row.weights.begin(), row.weights.end(), batch_.weights.begin() + r * n);
    batch_.total_weight += row.total_weight;
    batch_.stats.dropped += row.stats.dropped;
    batch_.stats.padded += row.stats.padded;
    batch_.stats.reverted += row.stats.reverted;
    for (int kind = 0; kind < kSegmentKinds; ++kind)
      batch_.stats.segments[kind] += row.stats.segments[kind];
  }
  slot.claimed = slot.done = 0;
  ++next_;
  lock.unlock();
  room_.notify_all();
  return batch_;
}

}  // namespace midfill
