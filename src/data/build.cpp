#include "src/data/build.h"

#include <xxhash.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "kernels/common/check.h"
#include "kernels/common/thread_count.h"
#include "src/data/dataset_writer.h"
#include "src/data/document_pipeline.h"
#include "src/io/new_folders.h"

namespace midfill {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int64_t kReportedLines = 100'000;  // later bad lines are only counted

enum Side : size_t { kTrain, kValid, kSides };
constexpr std::array<const char*, kSides> kSideNames = {"train", "valid"};

// What goes to one side out of one block.
struct Encoded {
  std::vector<std::byte> tokens;  // as stored
  std::vector<int32_t> sizes;
  SplitCounts counts;
};

using Sides = std::array<Encoded, kSides>;
using Job = DocumentJob<Sides>;

// Where each output lies while it is made, and its name at the end.
struct Output {
  fs::path staged, final;
};

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

class Build {
 public:
  Build(const Tokenizer& tokenizer, const BuildOptions& options)
      : tokenizer_(tokenizer),
        options_(options),
        type_(type_for(tokenizer.vocab_size())),
        sides_(options.valid_fraction > 0 ? 2 : 1),
        from_stdin_(options.inputs == std::vector<std::string>{"-"}),
        report_path_(options.out + "_bad_lines.jsonl") {}

  BuildSummary run() {
    // Before anything is made. Where an unfinished build is there, it may have outputs of its own.
    if (!unfinished_build()) refuse_outputs();
    files_ = files_to_read();
    const NewFolders folders(options_.out);
    StagingDirectory staging(options_.out);
    staging_ = &staging;
    if (!staging.warning().empty()) note(staging.warning());
    begin_or_resume();
    if (!state_.complete) {
      refuse_outputs();
      try {
        read_all();
        finish();
      } catch (const Error& error) {
        give_up(error);
      }
    }
    for (const Output& output : outputs()) publish(output);
    staging.remove_all();
    return {state_.now.train, state_.now.valid, state_.now.read,
            state_.now.read.bad_lines > 0 ? report_path_.string() : "", resumed_};
  }

 private:
  std::string prefix(size_t side) const { return options_.out + "_" + kSideNames[side]; }
  bool stopped() const { return options_.stop && options_.stop(); }
  void note(const std::string& text) const {
    const auto& on_note = options_.reports.on_note;
    if (on_note) on_note(fmt::format("{}: {}", options_.out, text));
  }

  void refuse_outputs() const {
    for (size_t side = 0; side < sides_; ++side) refuse_existing(prefix(side));
    require(!fs::exists(report_path_), "{}: already exists; refusing to overwrite it",
            report_path_.string());
  }

  // Clears away the rest of a build that was killed while it cleared away.
  bool unfinished_build() const {
    return fs::exists(staging_path(options_.out)) && StagingDirectory(options_.out).used();
  }

  std::vector<InputFileInfo> files_to_read() const {
    auto files = input_files(options_.inputs, options_.include, options_.exclude);
    if (from_stdin_) return files;
    // What this build itself makes may lie in a directory that it reads.
    std::set<fs::path> own = {fs::absolute(report_path_).lexically_normal()};
    for (size_t side = 0; side < kSides; ++side)
      for (const auto& path : {bin_path(prefix(side)), idx_path(prefix(side))})
        own.insert(fs::absolute(path).lexically_normal());
    const fs::path staging = fs::absolute(staging_path(options_.out)).lexically_normal();
    std::erase_if(files, [&](const InputFileInfo& file) {
      const fs::path whole = fs::absolute(file.path).lexically_normal();
      return own.contains(whole) || whole.parent_path() == staging;
    });
    require(!files.empty(), "{}: no input file but what this build makes",
            fmt::join(options_.inputs, ", "));
    return files;
  }

  // All that the output depends on beside the files.
  Json command() const {
    const std::string json = tokenizer_.to_json();
    return {{"input", from_stdin_ ? "standard input" : "files"},
            {"tokenizer", fmt::format("{:016x}", XXH3_64bits(json.data(), json.size()))},
            {"eod", tokenizer_.sentinels().eod},
            {"valid_fraction", options_.valid_fraction},
            {"text_key", options_.documents.text_key},
            {"max_bytes", options_.documents.max_bytes}};
  }

  void begin_or_resume() {
    if (!staging_->used()) {
      staging_->begin(command(), files_);
      return;
    }
    std::string changed;
    state_ = staging_->resume(command(), files_, changed);
    if (from_stdin_ && !state_.complete) {
      note("standard input cannot be taken up in the middle: the build begins anew");
      state_ = {};
      return;
    }
    resumed_ = true;
    if (!changed.empty()) note(changed);
    const auto behind = static_cast<size_t>(state_.now.at.file);
    note(state_.complete
             ? "an earlier run has finished this build; its files get their names"
             : fmt::format("goes on where an earlier run ended: {} of {} files and {} documents "
                           "are behind",
                           behind, files_.size(), (state_.now.train + state_.now.valid).documents));
  }

  // Reader, workers and writer at once, until the input ends. The writer is this thread.
  void read_all() {
    bytes_before_ = (state_.now.train + state_.now.valid).bytes;
    for (size_t side = 0; side < sides_; ++side) {
      const std::string name = kSideNames[side];
      const SplitCounts& counts = side == kTrain ? state_.now.train : state_.now.valid;
      writers_[side].emplace(*staging_ / (name + ".bin"), *staging_ / (name + ".idx"), type_,
                             GrowingDataset::Length{counts.tokens, counts.documents});
    }
    if (state_.now.read.bad_lines > 0)
      report_.emplace(*staging_ / "bad_lines.jsonl",
                      static_cast<uint64_t>(state_.now.report_bytes));

    for (const auto& file : files_) bytes_total_ += file.bytes;
    auto saved = Clock::now();
    const auto take = [&](const Job& job) {
      report(files_, job.read, state_.now.lines, options_.reports);
      writable_ = false;
      write(job);
      if (std::chrono::duration<double>(Clock::now() - saved).count() >= options_.save_seconds) {
        save();
        saved = Clock::now();
      }
      writable_ = true;
      return !stopped();
    };
    const auto work = [this](int) {
      return [this, ids = std::vector<TokenId>()](std::string_view text, Sides& sides) mutable {
        encode(text, ids, sides);
      };
    };
    DocumentPipeline<Sides>{.files = files_,
                            .documents = options_.documents,
                            .threads = thread_count(options_.threads),
                            .from = state_.now.at,
                            .stop = [this] { return stopped(); },
                            .work = work,
                            .take = take}
        .run();
    require(!stopped(), "{}: interrupted", options_.out);
  }

  void encode(std::string_view text, std::vector<TokenId>& ids, Sides& sides) const {
    ids.clear();
    tokenizer_.encode_to(text, ids, {.match_special = false});
    ids.push_back(tokenizer_.sentinels().eod);
    constexpr size_t kMostTokens = std::numeric_limits<int32_t>::max();
    if (ids.size() > kMostTokens)
      throw TextError(fmt::format("{} tokens, the format allows {}", ids.size(), kMostTokens));
    Encoded& side = sides[in_validation(text, options_.valid_fraction) ? kValid : kTrain];
    append_as_stored(ids, type_, side.tokens);
    side.sizes.push_back(static_cast<int32_t>(ids.size()));
    side.counts = side.counts + SplitCounts{1, static_cast<int64_t>(ids.size()),
                                            static_cast<int64_t>(text.size())};
  }

  // The mark moves when all of the block is written.
  void write(const Job& job) {
    BuildMark next = state_.now;
    for (const InputNote& bad : job.read.bad)
      if (next.read.bad_lines++ < kReportedLines) add_to_report(bad);
    if (report_) next.report_bytes = static_cast<int64_t>(report_->length());
    for (size_t side = 0; side < sides_; ++side) {
      const Encoded& encoded = job.product[side];
      writers_[side]->append_tokens(encoded.tokens);
      writers_[side]->append_sizes(encoded.sizes);
      SplitCounts& counts = side == kTrain ? next.train : next.valid;
      counts = counts + encoded.counts;
    }
    next.read.empty += job.read.empty;
    next.read.binary_files += job.read.binary_files;
    next.at = job.block.end;
    next.lines = next.at.offset == 0 ? 0 : next.lines + job.read.lines;
    state_.now = next;
    if (next.at.offset == 0) state_.file_begin = next;
    if (options_.progress) {
      const SplitCounts all = next.train + next.valid;
      options_.progress({job.block.bytes_done, bytes_total_, all, all.bytes - bytes_before_});
    }
  }

  void add_to_report(const InputNote& bad) {
    Json json = {{"file", files_[bad.file].name()}};
    if (bad.line >= 0) json["line"] = state_.now.lines + bad.line + 1;
    json["error"] = bad.what;
    add_to_report(json);
  }
  void add_to_report(const Json& json) {
    if (!report_) report_.emplace(*staging_ / "bad_lines.jsonl");
    // Names and messages may hold any bytes.
    report_->append(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  void save() {
    for (auto& writer : writers_)
      if (writer) writer->sync();
    if (report_) report_->sync();
    staging_->save(state_);
  }

  void finish() {
    const BuildMark& now = state_.now;
    if (now.train.documents + now.valid.documents == 0) {
      const auto [empty, bad_lines, binary_files] = now.read;
      state_ = {};  // nothing to keep
      fail("{}: no document in {} input files ({} empty, {} bad lines, {} binary files)",
           options_.out, files_.size(), empty, bad_lines, binary_files);
    }
    writable_ = false;
    save();
    for (auto& writer : writers_)
      if (writer) writer->finish();
    if (now.read.bad_lines > kReportedLines)
      add_to_report(Json{{"further_bad_lines", now.read.bad_lines - kReportedLines}});
    if (report_) report_->sync();
    state_.complete = true;
    staging_->save(state_);
  }

  // In the handler of an Error on the way: what is done is kept, where it can be gone on with.
  [[noreturn]] void give_up(const Error& error) {
    if (from_stdin_ || state_.now.at == InputPosition{}) {
      staging_->remove_all();
      throw;
    }
    // What a disk refused may be lost though it takes it the next time: the state before stands.
    if (writable_) save();
    fail("{}; what is done is kept in {}: the same command goes on from there", error.what(),
         staging_->path().string());
  }

  std::vector<Output> outputs() const {
    std::vector<Output> all;
    // A dataset without its index is not there: so the indices come last.
    for (const char* kind : {".bin", ".idx"})
      for (size_t side = 0; side < sides_; ++side)
        all.push_back({*staging_ / (std::string(kSideNames[side]) + kind), prefix(side) + kind});
    if (state_.now.read.bad_lines > 0)
      all.insert(all.begin(), {*staging_ / "bad_lines.jsonl", report_path_});
    return all;
  }

  // A run that was killed here may have done it already, in part or whole.
  static void publish(const Output& output) {
    if (same_file(output.staged, output.final)) {
      fs::remove(output.staged);
    } else if (fs::exists(output.staged)) {
      publish_file(output.staged, output.final);
    } else {
      require(fs::exists(output.final), "{}: is gone, and {} too", output.staged.string(),
              output.final.string());
    }
  }

  const Tokenizer& tokenizer_;
  const BuildOptions& options_;
  TokenType type_;
  size_t sides_;
  bool from_stdin_;
  fs::path report_path_;
  std::vector<InputFileInfo> files_;
  StagingDirectory* staging_ = nullptr;
  BuildState state_;  // what is written; the reader begins at its `now` before the writer moves it
  bool resumed_ = false;
  int64_t bytes_before_ = 0;
  std::array<std::optional<GrowingDataset>, kSides> writers_;
  std::optional<GrowingFile> report_;
  bool writable_ = true;  // no write has failed
  uint64_t bytes_total_ = 0;
};

}  // namespace

bool in_validation(std::string_view text, double fraction) {
  const uint64_t hash = XXH3_64bits(text.data(), text.size());
  return static_cast<double>(hash >> 11) * 0x1p-53 < fraction;
}

BuildSummary build_dataset(const Tokenizer& tokenizer, const BuildOptions& options) {
  require(options.valid_fraction >= 0 && options.valid_fraction < 1,
          "valid fraction {}: expected 0 or more, and less than 1", options.valid_fraction);
  tokenizer.required_eod();
  return Build(tokenizer, options).run();
}

}  // namespace midfill
