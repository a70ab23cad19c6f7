#include "src/checkpoint/atomic_directory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <vector>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = ".tmp-";

// "runs/a/" and "." without the trailing slash or dot, so that parent and name exist.
fs::path without_slash(const fs::path& path) {
  std::error_code failed;
  fs::path absolute = fs::absolute(path, failed).lexically_normal();
  require(!failed, "{}: {}", path.string(), failed.message());
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

bool is_empty_directory(const fs::path& path) {
  std::error_code failed;
  return fs::is_directory(path, failed) && fs::is_empty(path, failed) && !failed;
}

// The pid at the end of ".tmp-step_00001000-4711"; 0 where there is none.
pid_t pid_of(const std::string& name) {
  pid_t pid = 0;
  const size_t dash = name.rfind('-');
  const auto [end, error] = std::from_chars(name.data() + dash + 1, name.data() + name.size(), pid);
  return error == std::errc() && end == name.data() + name.size() ? pid : 0;
}

bool is_leftover(const std::string& name, OtherWriters others) {
  const pid_t pid = pid_of(name);
  if (pid <= 0) return false;
  return others == OtherWriters::locked_out || pid == ::getpid() ||
         (::kill(pid, 0) != 0 && errno == ESRCH);
}

}  // namespace

AtomicDirectory::AtomicDirectory(const fs::path& target, Existing existing)
    : target_(without_slash(target)), parent_(target_.parent_path()), existing_(existing) {
  require(target_.has_filename(), "{}: not a name for a new directory", target.string());
  require(existing == Existing::replace || !is_there(target_) || is_empty_directory(target_),
          "{}: already exists; refusing to overwrite it", target_.string());
  std::error_code failed;
  require(fs::is_directory(parent_, failed), "{}: cannot create: {} is no directory",
          target_.string(), parent_.string());
  const std::string name = target_.filename().string();
  remove_leftovers(parent_, name + "-", OtherWriters::possible);
  // A leftover that could not be removed may have this process's number.
  bool made = false;
  for (int n = 0; !made && !failed && n < 100; ++n) {
    const std::string again = n == 0 ? "" : fmt::format(".{}", n);
    temporary_ = parent_ / fmt::format("{}{}{}-{}", kPrefix, name, again, ::getpid());
    made = fs::create_directory(temporary_, failed);
  }
  require(made, "{}: cannot create: {}", temporary_.string(),
          failed ? failed.message() : "File exists");
}

AtomicDirectory::~AtomicDirectory() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  fsync_directory(temporary_);
  // rename() replaces an empty directory and fails for one with contents.
  bool renamed = ::rename(temporary_.c_str(), target_.c_str()) == 0;
  bool exchanged = false;
  if (!renamed && existing_ == Existing::replace && (errno == ENOTEMPTY || errno == EEXIST)) {
    renamed = exchanged =
        ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0;
    if (!renamed && (errno == EINVAL || errno == ENOSYS)) {  // a filesystem without exchange
      remove_directory(target_);
      renamed = ::rename(temporary_.c_str(), target_.c_str()) == 0;
    }
  }
  if (!renamed) fail_errno(temporary_, "rename to " + target_.string());
  committed_ = true;
  fsync_directory(parent_);
  if (exchanged) {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
}

void remove_directory(const fs::path& directory) {
  const fs::path path = without_slash(directory);
  const fs::path temporary = path.parent_path() / fmt::format("{}{}.removed-{}", kPrefix,
                                                              path.filename().string(), ::getpid());
  std::error_code failed;
  fs::remove_all(temporary, failed);
  if (::rename(path.c_str(), temporary.c_str()) != 0)
    fail_errno(path, "rename to " + temporary.string());
  fs::remove_all(temporary, failed);
  require(!failed, "{}: cannot remove: {}", temporary.string(), failed.message());
}

std::vector<std::string> remove_leftovers(const fs::path& parent, const std::string& name,
                                          OtherWriters others) {
  std::error_code failed;
  std::vector<fs::path> leftovers;
  const std::string prefix = std::string(kPrefix) + name;
  for (fs::directory_iterator entry(parent, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string file = entry->path().filename().string();
    if (file.starts_with(prefix) && is_leftover(file, others)) leftovers.push_back(entry->path());
  }
  std::vector<std::string> failures;
  for (const fs::path& leftover : leftovers) {
    fs::remove_all(leftover, failed);
    if (failed)
      failures.push_back(fmt::format("{}: cannot remove: {}", leftover.string(), failed.message()));
  }
  return failures;
}

}  // namespace midfill
