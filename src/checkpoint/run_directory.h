// A run directory: config.json (resolved, every default), tokenizer.json, run.json (run_facts.h),
// metrics.jsonl, tensorboard/, log.txt, checkpoints, and aside/ with what a resume left behind.
#pragma once

#include <filesystem>
#include <string>

#include "src/config/config.h"
#include "src/io/file_lock.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Throws Error, naming what is there, where the directory holds a run or what is left of one: a new
// run would take its checkpoints for its own.
void refuse_run(const std::filesystem::path& directory);
// Writes config.json and tokenizer.json into a directory that exists. config.json is written last:
// a directory without it holds no run.
void create_run(const std::filesystem::path& run, const Config& config, const Tokenizer& tokenizer);
bool is_run(const std::filesystem::path& directory);
// Throws Error where the directory holds no run or its config.json is not valid.
Config read_run_config(const std::filesystem::path& run);
std::filesystem::path run_tokenizer(const std::filesystem::path& run);

// Where a resume puts what it does not go on with: RUN/aside, created where it is not there.
std::filesystem::path make_aside(const std::filesystem::path& run);

// A run directory in the hands of the one process that writes to it. It is held by identity, not by
// its path: where it is renamed or deleted meanwhile, that is noticed, and nothing is written to
// another directory that has come by the name.
class RunHold {
 public:
  // Locks RUN/.lock, so that two writers never mix their steps; where the file system has no locks,
  // warning() says so. Throws Error where there is no such directory or another process holds it,
  // naming that process.
  explicit RunHold(std::filesystem::path run);
  ~RunHold();
  RunHold(const RunHold&) = delete;
  RunHold& operator=(const RunHold&) = delete;

  const std::filesystem::path& path() const { return path_; }  // as given
  std::string warning() const { return lock_.warning(); }

  // Whether the path still leads to the directory.
  bool in_place() const;
  // Where the directory is: path(), or the name that it has now. Throws Error where it was deleted.
  std::filesystem::path place() const;
  // Throws Error, saying where the directory is now, where it is not in place any more.
  void require_in_place() const;

 private:
  struct Descriptor {
    int fd;
    explicit Descriptor(const std::filesystem::path& directory);
    ~Descriptor();
  };

  std::filesystem::path path_;
  Descriptor directory_;
  FileLock lock_;
};

}  // namespace midfill
