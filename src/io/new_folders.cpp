#include "src/io/new_folders.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <system_error>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

namespace {

namespace fs = std::filesystem;

void require_directory(const fs::path& folder, const fs::path& output) {
  std::error_code ignored;
  require(fs::is_directory(folder, ignored), "{}: cannot create: {} is no directory",
          output.string(), folder.string());
}

[[noreturn]] void fail_to_create(const fs::path& folder, const fs::path& output) {
  fail_errno(output, "create: " + folder.string());
}

// The folders above `output` that are not there, innermost first. The one above them is a
// directory.
std::vector<fs::path> missing_above(const fs::path& output) {
  std::vector<fs::path> missing;
  fs::path folder = parent_of(output);
  std::error_code ignored;
  for (; !fs::exists(folder, ignored) && folder != parent_of(folder); folder = parent_of(folder))
    missing.push_back(folder);
  require_directory(folder, output);
  return missing;
}

}  // namespace

NewFolders::NewFolders(const fs::path& output) : exceptions_(std::uncaught_exceptions()) {
  const std::vector<fs::path> missing = missing_above(output);
  try {
    for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
      if (::mkdir(folder->c_str(), 0777) == 0) {
        made_.push_back(*folder);
        fsync_directory(parent_of(*folder));
      } else if (errno != EEXIST) {
        fail_to_create(*folder, output);
      }
      require_directory(*folder, output);  // another process may have made it
    }
  } catch (...) {
    remove();
    throw;
  }
}

NewFolders::~NewFolders() {
  if (std::uncaught_exceptions() > exceptions_) remove();
}

void NewFolders::remove() noexcept {
  // Innermost first; one that holds something, and those above it, stay.
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) ::rmdir(folder->c_str());
}

void check_folders(const fs::path& output) {
  const std::vector<fs::path> missing = missing_above(output);
  const fs::path above = missing.empty() ? parent_of(output) : parent_of(missing.back());
  if (::access(above.c_str(), W_OK | X_OK) != 0) fail_to_create(above, output);
}

}  // namespace midfill
