#include "src/checkpoint/run_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "kernels/common/check.h"
#include "src/checkpoint/checkpoint.h"
#include "src/io/file.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

fs::path config_path(const fs::path& run) {
  return run / "config.json";
}

bool same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

void refuse_run(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::exists(directory, ignored)) return;
  require(
      !is_run(directory),
      "{}: already holds a run; continue it with --resume or choose another directory with --run",
      directory.string());
  const auto newest = newest_step(directory);
  require(!newest,
          "{}: holds checkpoints, the newest of step {}, but no config.json: what is left of a "
          "run; choose another directory with --run",
          directory.string(), newest.value_or(0));
  for (const char* file : {"metrics.jsonl", "tensorboard"})
    require(!fs::exists(directory / file, ignored),
            "{}: holds {} but no config.json: what is left of a run; choose another directory with "
            "--run",
            directory.string(), file);
}

void create_run(const fs::path& run, const Config& config, const Tokenizer& tokenizer) {
  refuse_run(run);
  // A start that was killed may have left it; any other is somebody's.
  const std::string json = tokenizer.to_json();
  std::error_code ignored;
  if (fs::exists(run_tokenizer(run), ignored))
    require(read_file(run_tokenizer(run)) == json,
            "{}: already exists, and is not the tokenizer of this run; refusing to overwrite it",
            run_tokenizer(run).string());
  write_file(run_tokenizer(run), json);
  write_file(config_path(run), to_json(config), AtomicFile::Existing::refuse);
}

bool is_run(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(config_path(directory), ignored);
}

Config read_run_config(const fs::path& run) {
  require(is_run(run), "{}: no run here (no config.json)", run.string());
  return load_config(config_path(run));
}

fs::path run_tokenizer(const fs::path& run) {
  return run / "tokenizer.json";
}

fs::path make_aside(const fs::path& run) {
  const fs::path aside = run / "aside";
  std::error_code failed;
  fs::create_directory(aside, failed);
  require(!failed, "{}: cannot create: {}", aside.string(), failed.message());
  return aside;
}

RunHold::Descriptor::Descriptor(const fs::path& directory)
    : fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (fd < 0) fail_errno(directory, "open");
}

RunHold::Descriptor::~Descriptor() {
  ::close(fd);
}

RunHold::RunHold(fs::path run) : path_(std::move(run)), directory_(path_), lock_(path_ / ".lock") {
  require(lock_.state() != FileLock::State::taken,
          "{}: {} is writing to this run; it takes one writer at a time", path_.string(),
          lock_.holder());
}

RunHold::~RunHold() = default;

bool RunHold::in_place() const {
  struct stat held {
  }, named{};
  // Any other failure is the file system's, which may recover.
  if (::stat(path_.c_str(), &named) != 0) return errno != ENOENT && errno != ENOTDIR;
  return ::fstat(directory_.fd, &held) != 0 || same(held, named);
}

fs::path RunHold::place() const {
  if (in_place()) return path_;
  // Linux knows the directory's present name.
  std::error_code unknown;
  const fs::path now = fs::read_symlink(fmt::format("/proc/self/fd/{}", directory_.fd), unknown);
  struct stat held {
  }, named{};
  require(!unknown && ::fstat(directory_.fd, &held) == 0 && ::stat(now.c_str(), &named) == 0 &&
              same(held, named),
          "{}: the run's directory was deleted while the run was going on; nothing can be saved",
          path_.string());
  return now;
}

void RunHold::require_in_place() const {
  if (in_place()) return;
  const std::string now = place().string();
  fail(
      "{}: the run's directory was moved to {} while the run was going on; continue it with "
      "--resume --run {}",
      path_.string(), now, now);
}

}  // namespace midfill
