// Files, written so that nothing is lost: a file appears complete or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace midfill {

// Throws Error "<path>: cannot <what>: <errno's text>". To be called after a call that has set
// errno and nothing else: arguments of require() may be worked out before the call that it judges.
[[noreturn]] void fail_errno(const std::filesystem::path& path, std::string_view what);

// Whether anything has this name, be it a link that leads nowhere.
bool is_there(const std::filesystem::path& path);
// The directory that a name is in, "." for a bare one.
std::filesystem::path parent_of(const std::filesystem::path& path);

// The whole file. Throws Error (path, errno text) where it cannot be read, is a directory, a FIFO
// or larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 32);

// Calls take(bytes) for the contents, a block after the other, and returns how many bytes those
// were. Throws Error as read_file().
uint64_t read_blocks(const std::filesystem::path& path,
                     const std::function<void(std::span<const std::byte>)>& take);

// A file being written. It has a temporary name in the same directory until `commit()`: flush,
// fsync, rename, fsync of the directory. Destroyed without commit, it removes its temporary file.
// Every call throws Error (path, errno text) where the system refuses; the constructor and commit()
// also where Existing::refuse meets an existing file.
class AtomicFile {
 public:
  enum class Existing { refuse, replace };
  explicit AtomicFile(std::filesystem::path path, Existing existing = Existing::refuse);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  void flush();

  std::filesystem::path path_, temporary_;
  Existing existing_;
  int fd_ = -1;
  std::string buffer_;
};

// Writes a small file atomically.
void write_file(const std::filesystem::path& path, std::string_view text,
                AtomicFile::Existing existing = AtomicFile::Existing::replace);

// A read-only memory map. Throws Error where the path is no regular file that can be mapped.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  // All of it. Reading them while the file is cut, or its disk fails, ends the process by a signal.
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  // Copies bytes [offset, offset + out.size()), which lie within the map. Throws Error where the
  // file has been cut or its disk fails. Safe to call from several threads.
  void read(uint64_t offset, std::span<std::byte> out) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Makes names that were created, renamed or removed in a directory survive the machine.
void fsync_directory(const std::filesystem::path& path);

}  // namespace midfill
