// Directories that appear complete or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace midfill {

// A directory being written. Until `commit()` it is ".tmp-<name>-<pid>" beside its target: write
// files into path() through AtomicFile (each is then fsynced), and commit() fsyncs the directory,
// renames it and fsyncs the parent. Destroyed without commit, it removes itself.
class AtomicDirectory {
 public:
  enum class Existing {
    refuse,  // an existing target is an error, unless it is an empty directory
    replace  // an existing directory is exchanged for the new one and then removed
  };
  // Throws Error where the target may not be written, or its parent is not there: a run that was
  // removed must not come back with a checkpoint of it.
  explicit AtomicDirectory(const std::filesystem::path& target,
                           Existing existing = Existing::refuse);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, parent_, temporary_;
  Existing existing_;
  bool committed_ = false;
};

// Removes a directory so that no moment shows half of it: it is renamed to a temporary name first.
void remove_directory(const std::filesystem::path& directory);

// Whether another process may be writing directories of the same name at this moment.
enum class OtherWriters { possible, locked_out };

// Removes temporary directories in `parent` whose name starts with ".tmp-" + `name`. Where other
// writers are possible, those stay whose name has the pid of a living process other than this one.
// What cannot be removed stays: a line for each.
std::vector<std::string> remove_leftovers(const std::filesystem::path& parent,
                                          const std::string& name, OtherWriters others);

}  // namespace midfill
