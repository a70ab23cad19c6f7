// A file that a long job lets grow, in such a way that the job can be killed and go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace midfill {

// What was appended before a sync() that returned is there after any crash; what came later may or
// may not be, and is cut off by opening the file again at the length of that sync. Every call
// throws Error (path, errno text) where the system refuses.
class GrowingFile {
 public:
  // Creates the file, or opens it at `length` bytes; a file that is shorter is an Error.
  explicit GrowingFile(std::filesystem::path path, uint64_t length = 0);
  ~GrowingFile();  // what is buffered is lost
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  void append(const void* data, size_t bytes);
  void append(std::string_view text) { append(text.data(), text.size()); }
  uint64_t length() const { return written_ + buffer_.size(); }
  const std::filesystem::path& path() const { return path_; }

  // Of what is there already.
  void read_at(uint64_t offset, std::span<std::byte> out);
  void write_at(uint64_t offset, std::span<const std::byte> data);
  void sync();

 private:
  void flush();

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t written_;
  std::string buffer_;
};

// Gives a finished, synced file another name on the same file system. Throws
// Error where the name is taken: link() fails there, where rename() would silently replace.
void publish_file(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace midfill
