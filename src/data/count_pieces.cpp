#include "src/data/count_pieces.h"

#include <algorithm>
#include <atomic>

#include "kernels/common/check.h"
#include "kernels/common/start_threads.h"
#include "kernels/common/thread_count.h"
#include "src/data/document_pipeline.h"

namespace midfill {

namespace {

constexpr size_t kRangeBytes = size_t{4} << 20;  // of a text, counted as one unit of work

struct Counted {
  int64_t documents = 0, bytes = 0;
};

// A text that is larger than the queue of blocks keeps the other threads from their work: it is
// counted by as many at once.
void add_in_parallel(std::string_view text, int threads, PieceCounts& counts) {
  const size_t ranges = (text.size() + kRangeBytes - 1) / kRangeBytes;
  std::vector<PieceCounts> parts(std::min(ranges, static_cast<size_t>(threads)),
                                 PieceCounts(counts.space_runs()));
  std::atomic<size_t> next = 0;
  std::vector<std::exception_ptr> errors(parts.size());
  {
    std::vector<std::jthread> pool;
    start_threads(pool, static_cast<int>(parts.size()), [&](int thread) {
      const auto own = static_cast<size_t>(thread);
      try {
        for (size_t i; (i = next++) < ranges;) {
          const size_t begin = PieceCounts::safe_cut(text, i * kRangeBytes);
          const size_t end = PieceCounts::safe_cut(text, (i + 1) * kRangeBytes);
          parts[own].add(text.substr(begin, end - begin));
        }
      } catch (...) {
        errors[own] = std::current_exception();
      }
    });
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  for (const PieceCounts& part : parts) counts.add(part);
}

}  // namespace

CountedDocuments count_pieces(const CountOptions& options, PieceCounts& counts) {
  const auto files = input_files(options.inputs, options.include, options.exclude);
  const int threads = thread_count(options.threads);
  std::vector<PieceCounts> parts(static_cast<size_t>(threads), PieceCounts(counts.space_runs()));
  const size_t large = kRangeBytes * static_cast<size_t>(std::max(2, threads));
  const auto work = [&](int thread) {
    return [&, own = static_cast<size_t>(thread)](std::string_view text, Counted& counted) {
      if (text.size() >= large && threads > 1) {
        add_in_parallel(text, threads, parts[own]);
      } else {
        parts[own].add(text);
      }
      ++counted.documents;
      counted.bytes += static_cast<int64_t>(text.size());
    };
  };

  CountedDocuments all{.files = static_cast<int64_t>(files.size()),
                       .documents = 0,
                       .bytes = 0,
                       .bad_lines = 0,
                       .binary_files = 0};
  int64_t lines = 0;  // of the file that is being read
  const auto take = [&](const DocumentJob<Counted>& job) {
    const BlockCounts& read = job.read;
    report(files, read, lines, options.reports);
    lines = job.block.end.offset == 0 ? 0 : lines + read.lines;
    all.bad_lines += static_cast<int64_t>(read.bad.size());
    all.binary_files += read.binary_files;
    all.files -= read.binary_files;
    all.documents += job.product.documents;
    all.bytes += job.product.bytes;
    return true;
  };
  DocumentPipeline<Counted>{.files = files,
                            .documents = options.documents,
                            .threads = threads,
                            .from = {},
                            .stop = nullptr,
                            .work = work,
                            .take = take}
      .run();
  for (const PieceCounts& part : parts) counts.add(part);
  return all;
}

}  // namespace midfill
