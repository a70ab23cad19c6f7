// A file read by position. Unlike a memory map it turns a file that shrinks, or a disk that fails,
// into an Error instead of a signal.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace midfill {

class InputFile {
 public:
  // Throws Error where `path` cannot be opened or is no regular file.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // bytes, when it was opened

  // Bytes [offset, offset + out.size()), or fewer at the end of the file: how many. Safe to call
  // from several threads.
  size_t read_some(uint64_t offset, std::span<std::byte> out) const;
  // All of them; throws Error where the file ends before.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace midfill
