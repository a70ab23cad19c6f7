#include "src/io/growing_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

namespace {

constexpr size_t kBufferBytes = size_t{1} << 18;

// Writes all of it at an offset.
void write_all(int fd, const std::byte* data, size_t bytes, uint64_t offset,
               const std::filesystem::path& path) {
  while (bytes > 0) {
    const ssize_t n = ::pwrite(fd, data, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(path, "write");
    data += n;
    bytes -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
}

}  // namespace

GrowingFile::GrowingFile(std::filesystem::path path, uint64_t length)
    : path_(std::move(path)), written_(length) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail_errno(path_, "create");
  try {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) fail_errno(path_, "stat");
    require(static_cast<uint64_t>(status.st_size) >= length,
            "{}: {} bytes, expected at least {}: it was changed from outside", path_.string(),
            status.st_size, length);
    if (::ftruncate(fd_, static_cast<off_t>(length)) != 0) fail_errno(path_, "cut");
  } catch (...) {
    ::close(fd_);
    throw;
  }
  buffer_.reserve(kBufferBytes);
}

GrowingFile::~GrowingFile() {
  ::close(fd_);
}

void GrowingFile::append(const void* data, size_t bytes) {
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes >= kBufferBytes) {
    write_all(fd_, static_cast<const std::byte*>(data), bytes, written_, path_);
    written_ += bytes;
  } else {
    buffer_.append(static_cast<const char*>(data), bytes);
  }
}

void GrowingFile::flush() {
  write_all(fd_, reinterpret_cast<const std::byte*>(buffer_.data()), buffer_.size(), written_,
            path_);
  written_ += buffer_.size();
  buffer_.clear();
}

void GrowingFile::read_at(uint64_t offset, std::span<std::byte> out) {
  flush();
  for (size_t done = 0; done < out.size();) {
    const ssize_t n =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(path_, "read");
    require(n > 0, "{}: ends at byte {}, expected {} bytes; was it cut while in use?",
            path_.string(), offset + done, written_);
    done += static_cast<size_t>(n);
  }
}

void GrowingFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  flush();
  write_all(fd_, data.data(), data.size(), offset, path_);
}

void GrowingFile::sync() {
  flush();
  if (::fsync(fd_) != 0) fail_errno(path_, "fsync");
}

void publish_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::link(from.c_str(), to.c_str()) != 0) {
    if (errno == EEXIST) fail("{}: already exists; refusing to overwrite it", to.string());
    fail_errno(to, "create");
  }
  ::unlink(from.c_str());
  fsync_directory(parent_of(to));
}

}  // namespace midfill
