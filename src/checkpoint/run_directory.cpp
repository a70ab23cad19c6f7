#include "src/checkpoint/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

fs::path config_path(const fs::path& run) {
  return run / "config.json";
}

// What the holder of a lock wrote into it: "process 4711".
std::string read_holder(int fd) {
  std::array<char, 32> text;
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  return n > 0 ? std::string(text.data(), static_cast<size_t>(n)) : "another process";
}

}  // namespace

void create_run(const fs::path& run, const Config& config, const Tokenizer& tokenizer) {
  require(!is_run(run), "{}: already holds a run (config.json); refusing to overwrite it",
          run.string());
  std::error_code failed;
  fs::create_directories(run, failed);
  require(!failed, "{}: cannot create: {}", run.string(), failed.message());
  write_file(run_tokenizer(run), tokenizer.to_json());
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

RunLock::RunLock(const fs::path& run) {
  const fs::path path = run / ".lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  require(fd_ >= 0, "{}: cannot open: {}", path.string(), std::strerror(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    const std::string holder = read_holder(fd_);
    ::close(fd_);
    require(error != EWOULDBLOCK, "{}: {} is writing to this run; it takes one writer at a time",
            run.string(), holder);
    fail("{}: cannot lock: {}", path.string(), std::strerror(error));
  }
  // The pid only serves the message above; the lock holds without it.
  const std::string holder = fmt::format("process {}", ::getpid());
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, holder.data(), holder.size(), 0) < 0) return;
}

RunLock::~RunLock() {
  ::close(fd_);
}

}  // namespace midfill
