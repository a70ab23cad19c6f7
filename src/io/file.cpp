#include "src/io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "kernels/common/check.h"
#include "kernels/common/memory_limit.h"
#include "src/io/guarded_copy.h"

namespace midfill {

namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

// An open file descriptor, closed with the object.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Opens a regular file for reading and returns its size. O_NONBLOCK keeps a FIFO from hanging the
// open.
uint64_t open_regular(const std::filesystem::path& path, int& fd) {
  fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail_errno(path, "open");
  struct stat status {};
  if (::fstat(fd, &status) != 0) fail_errno(path, "stat");
  require(S_ISREG(status.st_mode), "{}: expected a regular file, found {}", path.string(),
          S_ISDIR(status.st_mode) ? "a directory" : "something else (a pipe or device)");
  return static_cast<uint64_t>(status.st_size);
}

// Bytes read, 0 at the end of the file.
size_t read_some(int fd, void* data, size_t bytes, const std::filesystem::path& path) {
  while (true) {
    const ssize_t n = ::read(fd, data, bytes);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) fail_errno(path, "read");
  }
}

void write_all(int fd, const char* data, size_t bytes, const std::filesystem::path& path) {
  while (bytes > 0) {
    const ssize_t n = ::write(fd, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(path, "write");
    data += n;
    bytes -= static_cast<size_t>(n);
  }
}

}  // namespace

void fail_errno(const std::filesystem::path& path, std::string_view what) {
  fail("{}: cannot {}: {}", path.string(), what, system_error_text(errno));
}

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::symlink_status(path, ignored).type() !=
         std::filesystem::file_type::not_found;
}

std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  Descriptor file{-1};
  const uint64_t size = open_regular(path, file.fd);
  require(size <= max_bytes, "{}: {} bytes, expected at most {}", path.string(), size, max_bytes);
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const size_t n = read_some(file.fd, text.data() + done, size - done, path);
    require(n > 0, "{}: ended after {} bytes, expected {}", path.string(), done, size);
    done += n;
  }
  return text;
}

uint64_t read_blocks(const std::filesystem::path& path,
                     const std::function<void(std::span<const std::byte>)>& take) {
  Descriptor file{-1};
  open_regular(path, file.fd);
  std::vector<std::byte> block(kBufferBytes);
  uint64_t done = 0;
  while (const size_t n = read_some(file.fd, block.data(), block.size(), path)) {
    take(std::span(block).first(n));
    done += n;
  }
  return done;
}

AtomicFile::AtomicFile(std::filesystem::path path, Existing existing)
    : path_(std::move(path)), existing_(existing) {
  require(existing == Existing::replace || !std::filesystem::exists(path_),
          "{}: already exists; refusing to overwrite it", path_.string());
  temporary_ = path_;
  temporary_ += fmt::format(".tmp.{}", ::getpid());
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_errno(temporary_, "create");
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes >= kBufferBytes) {
    write_all(fd_, static_cast<const char*>(data), bytes, path_);
  } else {
    buffer_.append(static_cast<const char*>(data), bytes);
  }
}

void AtomicFile::flush() {
  write_all(fd_, buffer_.data(), buffer_.size(), path_);
  buffer_.clear();
}

void AtomicFile::commit() {
  flush();
  if (::fsync(fd_) != 0) fail_errno(path_, "fsync");
  // link() fails where the name exists, which rename() would silently replace.
  if (existing_ == Existing::refuse) {
    if (::link(temporary_.c_str(), path_.c_str()) != 0) fail_errno(path_, "create");
    ::unlink(temporary_.c_str());
  } else if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_errno(path_, "rename");
  }
  ::close(fd_);
  fd_ = -1;
  fsync_directory(parent_of(path_));
}

void write_file(const std::filesystem::path& path, std::string_view text,
                AtomicFile::Existing existing) {
  AtomicFile file(path, existing);
  file.write(text);
  file.commit();
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  Descriptor file{-1};
  size_ = open_regular(path, file.fd);
  if (size_ == 0) return;
  data_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    fail_errno(path, "map");
  }
  fd_ = std::exchange(file.fd, -1);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
  if (fd_ >= 0) ::close(fd_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (out.empty()) return;
  const bool copied = copy_from_map(out.data(), bytes().data() + offset, out.size());
  // A cut within the last page raises no signal: the page reads as zeros there.
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail_errno(path_, "stat");
  require(static_cast<uint64_t>(status.st_size) >= size_,
          "{}: ends at byte {}, expected {} bytes; was it cut while in use?", path_.native(),
          status.st_size, size_);
  require(copied, "{}: cannot read bytes {} to {}: the disk fails", path_.native(), offset,
          offset + out.size());
}

void fsync_directory(const std::filesystem::path& path) {
  const Descriptor directory{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd < 0) fail_errno(path, "open");
  if (::fsync(directory.fd) != 0) fail_errno(path, "fsync");
}

}  // namespace midfill
