#include "src/train/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "src/io/file.h"

namespace midfill {

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK keeps a FIFO from hanging the open.
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (fd_ < 0) fail_errno(path_, "open");
}

AppendFile::~AppendFile() {
  ::close(fd_);
}

void AppendFile::append(std::string_view bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      struct stat status {};
      [[maybe_unused]] const bool cut =
          done > 0 && ::fstat(fd_, &status) == 0 &&
          ::ftruncate(fd_, status.st_size - static_cast<off_t>(done)) == 0;
      errno = error;
      fail_errno(path_, "write");
    }
    done += static_cast<size_t>(n);
  }
}

void AppendFile::sync() {
  if (::fsync(fd_) != 0) fail_errno(path_, "fsync");
}

}  // namespace midfill
