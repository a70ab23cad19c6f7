// How a build of a dataset survives being killed: the directory PREFIX.building beside the output.
//   lock             held while a build works
//   command.json     what makes the output what it is: tokenizer, split, text key
//   files            the input files: "BYTES MODIFIED_NS PATH", each ended by a NUL byte
//   state.json       how far the build is, replaced after what it describes is on the disk
//   train.bin, train.idx, valid.bin, valid.idx, bad_lines.jsonl    the outputs so far
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/data/documents.h"
#include "src/io/file_lock.h"
#include "src/io/json.h"

namespace midfill {

struct SplitCounts {
  int64_t documents = 0;
  int64_t tokens = 0;  // each document's EOD included
  int64_t bytes = 0;   // of text
  SplitCounts operator+(const SplitCounts& other) const {
    return {documents + other.documents, tokens + other.tokens, bytes + other.bytes};
  }
};

struct ReadCounts {
  int64_t empty = 0;  // documents passed over
  int64_t bad_lines = 0;
  int64_t binary_files = 0;
};

// A moment of a build between two blocks.
struct BuildMark {
  InputPosition at;
  int64_t lines = 0;  // of the file at.file, behind at.offset
  SplitCounts train, valid;
  ReadCounts read;
  int64_t report_bytes = 0;  // of bad_lines.jsonl
};

struct BuildState {
  BuildMark now;
  BuildMark file_begin;   // where the file that `now` is in begins; file_begin.at.offset = 0
  bool complete = false;  // the outputs are finished and only want their names
};

// PREFIX.building, locked.
class StagingDirectory {
 public:
  // Creates it, or takes over what a build that was killed has left. Throws Error where another
  // build works in it, or it is no staging directory.
  explicit StagingDirectory(const std::string& prefix);
  ~StagingDirectory();  // unlocks; removes the directory where no build is in it
  StagingDirectory(const StagingDirectory&) = delete;
  StagingDirectory& operator=(const StagingDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  bool used() const;                                       // a build has begun in it
  std::string warning() const { return lock_.warning(); }  // where there are no locks here

  // Writes down a new build's command and files.
  void begin(const Json& command, const std::vector<InputFileInfo>& files);
  // Where the build that began here is. `files` may differ from what it began with only ahead: a
  // file that it has not finished may have changed, and is then begun anew, or be gone; `note` gets
  // a line about it. Throws Error, saying what differs, for any other command.
  BuildState resume(const Json& command, const std::vector<InputFileInfo>& files,
                    std::string& note);
  void save(const BuildState& state);

  void remove_all();  // of what a build makes

 private:
  [[noreturn]] void differs(const std::string& what) const;
  std::vector<InputFileInfo> read_files() const;
  BuildState read_state() const;
  void write_files(const std::vector<InputFileInfo>& files);

  std::filesystem::path path_;
  FileLock lock_;
};

std::filesystem::path staging_path(const std::string& prefix);  // PREFIX.building

}  // namespace midfill
