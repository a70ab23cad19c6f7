// A file that grows by whole records.
#pragma once

#include <filesystem>
#include <string_view>

namespace midfill {

// Every append is one write(2): it survives the death of the process as soon as it returns, and of
// the machine after sync(). Throws Error where the disk refuses; a record that it took in part is
// cut off again.
class AppendFile {
 public:
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view bytes);
  void sync();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int fd_;
};

}  // namespace midfill
