#include "src/data/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK keeps a FIFO from hanging the open.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail_errno(path_, "open");
  struct stat status {};
  const bool known = ::fstat(fd_, &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(std::exchange(fd_, -1));
  fail("{}: expected a regular file, found {}", path_,
       known && S_ISDIR(status.st_mode) ? "a directory" : "something else (a pipe or device)");
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

size_t InputFile::read_some(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(path_, fmt::format("read at byte {}", offset + done));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  const size_t n = read_some(offset, out);
  require(n == out.size(), "{}: ends at byte {}, expected {} bytes; was it cut while in use?",
          path_, offset + n, size_);
}

}  // namespace midfill
