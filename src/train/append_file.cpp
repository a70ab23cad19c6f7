#include "src/train/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/common/check.h"

namespace midfill {

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK keeps a FIFO from hanging the open.
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  require(fd_ >= 0, "{}: cannot open: {}", path_.string(), std::strerror(errno));
}

AppendFile::~AppendFile() {
  ::close(fd_);
}

void AppendFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    require(n >= 0, "{}: cannot write: {}", path_.string(), std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void AppendFile::sync() {
  require(::fsync(fd_) == 0, "{}: cannot fsync: {}", path_.string(), std::strerror(errno));
}

}  // namespace midfill
