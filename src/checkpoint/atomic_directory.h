// Directories that appear complete or not at all.
#pragma once

#include <filesystem>

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
  // Creates missing parents. Throws Error where the target may not be written.
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

// Removes temporary directories in `parent` whose name starts with ".tmp-" + `name` and whose
// writer is dead: no process of this machine has the pid of the name, or this process has it.
// Where `parent` is shared between machines the caller holds a lock that excludes other writers.
void remove_leftovers(const std::filesystem::path& parent, const std::string& name);

}  // namespace midfill
