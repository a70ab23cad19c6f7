#include "src/tokenizer/piece_counts.h"

#include <simdjson.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>

#include "kernels/common/check.h"
#include "kernels/common/start_threads.h"
#include "kernels/common/thread_count.h"
#include "src/io/file.h"
#include "src/tokenizer/pre_tokenizer.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {
constexpr size_t kMaxPieceBytes = 1024;
constexpr size_t kRangeBytes = size_t{4} << 20;  // of a file, counted as one unit of work
constexpr size_t kBinaryProbeBytes = 8000;
}  // namespace

void PieceCounts::add(std::string_view text) {
  std::string repaired;
  if (!unicode::is_valid_utf8(text)) {
    repaired = unicode::replace_invalid_utf8(text);
    text = repaired;
  }
  text = unicode::nfc(text, normal_form_);
  if (!space_runs_) return add_pieces(text);
  // The encoder takes runs of 2 or more spaces out before the pattern sees the text; of a run of
  // 24 k + 1 spaces the last stays in it.
  for (size_t at = 0; at < text.size();) {
    size_t run = text.find("  ", at);
    if (run == std::string_view::npos) run = text.size();
    size_t end = std::min(text.find_first_not_of(' ', run), text.size());
    if ((end - run) % kLongestSpaceRun == 1) --end;
    add_pieces(text.substr(at, run - at));
    at = end;
  }
}

void PieceCounts::add_pieces(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = gpt2_piece_end(text, at);
    if (end - at <= kMaxPieceBytes) {
      piece_.assign(text, at, end - at);
      ++counts_[piece_];
    }
    at = end;
  }
}

void PieceCounts::add(const PieceCounts& other) {
  for (const auto& [piece, count] : other.counts_) counts_[piece] += count;
}

namespace {

struct File {
  MappedFile map;
  bool is_jsonl;

  std::string_view text() const {
    const auto bytes = map.bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  bool is_binary() const {
    return !is_jsonl && text().substr(0, kBinaryProbeBytes).find('\0') != std::string_view::npos;
  }
};

// Where the range that nominally begins at `at` really begins: no piece, normalisation or run of
// spaces reaches over a newline after a printable ASCII character, nor a JSON line over any.
size_t range_begin(const File& file, size_t at) {
  const std::string_view text = file.text();
  if (at == 0) return 0;
  while ((at = text.find('\n', at)) != std::string_view::npos) {
    if (file.is_jsonl) return at + 1;
    if (text[at - 1] > ' ' && text[at - 1] <= '~') return at;
    ++at;
  }
  return text.size();
}

void count_lines(const File& file, size_t begin, size_t end, PieceCounts& counts) {
  const std::string_view text = file.text();
  simdjson::dom::parser parser;
  for (size_t at = begin; at < end;) {
    const size_t newline = std::min(text.find('\n', at), end);
    const std::string_view line = text.substr(at, newline - at);
    const auto refuse = [&](std::string_view why) {
      const auto line_begin = text.begin() + (line.data() - text.data());
      fail("{}: line {}: {}", file.map.path().string(),
           1 + std::count(text.begin(), line_begin, '\n'), why);
    };
    at = newline + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    simdjson::dom::element document;
    const auto error = parser.parse(line.data(), line.size()).get(document);
    if (error) refuse(fmt::format("not valid JSON: {}", simdjson::error_message(error)));
    std::string_view value;
    if (document["text"].get(value) != simdjson::SUCCESS)
      refuse("expected an object with a string \"text\"");
    counts.add(value);
  }
}

// Hands out ranges of the files, in order, to several threads.
class Work {
 public:
  explicit Work(const std::vector<std::filesystem::path>& paths) : paths_(paths) {}

  struct Range {
    std::shared_ptr<const File> file;  // null: nothing is left
    size_t begin = 0, end = 0;         // nominal
  };
  Range next() {
    const std::lock_guard lock(mutex_);
    while (!file_ || at_ >= file_->text().size()) {
      if (next_path_ == paths_.size()) return {};
      const std::filesystem::path& path = paths_[next_path_++];
      file_ = std::make_shared<const File>(File{MappedFile(path), path.extension() == ".jsonl"});
      at_ = 0;
      if (file_->is_binary()) {
        ++counted_.binary_files;
        file_ = nullptr;
      } else {
        ++counted_.files;
        counted_.bytes += static_cast<int64_t>(file_->text().size());
      }
    }
    const size_t begin = at_;
    at_ += std::min(kRangeBytes, file_->text().size() - at_);
    return {file_, begin, at_};
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    next_path_ = paths_.size();
    file_ = nullptr;
  }
  const CountedFiles& counted() const { return counted_; }

 private:
  const std::vector<std::filesystem::path>& paths_;
  std::mutex mutex_;
  std::shared_ptr<const File> file_;
  size_t next_path_ = 0, at_ = 0;
  CountedFiles counted_;
};

void count_ranges(Work& work, PieceCounts& counts) {
  for (Work::Range range = work.next(); range.file; range = work.next()) {
    const size_t begin = range_begin(*range.file, range.begin);
    const size_t end = range_begin(*range.file, range.end);
    if (range.file->is_jsonl) {
      count_lines(*range.file, begin, end, counts);
    } else {
      counts.add(range.file->text().substr(begin, end - begin));
    }
  }
}

}  // namespace

CountedFiles count_files(const std::vector<std::filesystem::path>& files, int threads,
                         PieceCounts& counts) {
  threads = thread_count(threads);
  Work work(files);
  std::vector<PieceCounts> parts(static_cast<size_t>(threads), PieceCounts(counts.space_runs()));
  std::vector<std::exception_ptr> errors(parts.size());
  {
    std::vector<std::jthread> pool;
    start_threads(pool, threads, [&](int thread) {
      const auto i = static_cast<size_t>(thread);
      try {
        count_ranges(work, parts[i]);
      } catch (...) {
        errors[i] = std::current_exception();
        work.stop();
      }
    });
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  for (const PieceCounts& part : parts) counts.add(part);
  return work.counted();
}

}  // namespace midfill
