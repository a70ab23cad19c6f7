#include "src/io/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

FileLock::FileLock(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail_errno(path_, "open");
  int failed = 0;
  do failed = ::flock(fd_, LOCK_EX | LOCK_NB);
  while (failed != 0 && errno == EINTR);
  if (failed != 0) {
    error_ = errno;
    state_ = error_ == EWOULDBLOCK ? State::taken : State::unsupported;
    return;
  }
  // The one that held it may have removed the file between open() and flock(): then this is a lock
  // on nothing.
  struct stat held {
  }, named{};
  if (::fstat(fd_, &held) != 0 || ::stat(path_.c_str(), &named) != 0 ||
      held.st_ino != named.st_ino) {
    state_ = State::taken;
    return;
  }
  // For holder() alone; the lock holds without it.
  const std::string who = fmt::format("process {}", ::getpid());
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, who.data(), who.size(), 0) < 0) return;
}

FileLock::~FileLock() {
  ::close(fd_);
}

std::string FileLock::holder() const {
  std::array<char, 32> text;
  const ssize_t n = ::pread(fd_, text.data(), text.size(), 0);
  return n > 0 ? std::string(text.data(), static_cast<size_t>(n)) : "another process";
}

std::string FileLock::warning() const {
  if (state_ != State::unsupported) return "";
  return fmt::format(
      "{}: cannot lock ({}): going on without; see to it that no other process writes here",
      path_.string(), std::strerror(error_));
}

}  // namespace midfill
