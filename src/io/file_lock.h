// An advisory lock on a file, by which processes that write to one place take turns.
#pragma once

#include <filesystem>
#include <string>

namespace midfill {

// Taken in the constructor, without waiting; released with the object and by the death of the
// process.
class FileLock {
 public:
  enum class State {
    held,
    taken,       // by another process
    unsupported  // the file system has no locks, as on some clusters: nobody is kept out
  };

  // Creates the file where it is not there. Throws Error where it cannot be opened.
  explicit FileLock(std::filesystem::path path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  State state() const { return state_; }
  // "process 4711": who holds a lock that is taken; "another process" where it did not say.
  std::string holder() const;
  // A line that says so where the lock is unsupported; else empty.
  std::string warning() const;

 private:
  std::filesystem::path path_;
  int fd_;
  State state_ = State::held;
  int error_ = 0;
};

}  // namespace midfill
