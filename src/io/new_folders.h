// The folders above an output that a user names.
#pragma once

#include <filesystem>
#include <vector>

namespace midfill {

// Makes the folders above `output` that are not there; where an exception ends the scope, those
// that are still empty are removed again. Throws Error (output, folder, errno text) where one is no
// directory or cannot be made. Only for a path that comes from outside, once all that is read has
// been found good: what belongs into a directory of ours must not bring that back where it is gone.
class NewFolders {
 public:
  explicit NewFolders(const std::filesystem::path& output);
  ~NewFolders();
  NewFolders(const NewFolders&) = delete;
  NewFolders& operator=(const NewFolders&) = delete;

 private:
  void remove() noexcept;

  std::vector<std::filesystem::path> made_;  // outermost first
  int exceptions_;
};

// Throws Error where NewFolders would, as far as it can be known without making any: for a command
// that works long before it writes.
void check_folders(const std::filesystem::path& output);

}  // namespace midfill
