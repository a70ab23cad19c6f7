#include "src/io/inputs.h"

#include <fnmatch.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "kernels/common/check.h"

namespace midfill {

namespace {

namespace fs = std::filesystem;

void add_directory(const fs::path& directory, std::vector<fs::path>& files) {
  try {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
      std::error_code broken_link;
      if (entry.is_regular_file(broken_link)) files.push_back(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    fail("{}: cannot list: {}", error.path1().empty() ? directory.string() : error.path1().string(),
         error.code().message());
  }
}

void add_path(const fs::path& path, std::vector<fs::path>& files) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  require(fs::exists(status), "{}: no such file or directory", path.string());
  if (fs::is_directory(status)) {
    add_directory(path, files);
  } else {
    require(fs::is_regular_file(status), "{}: expected a file or a directory, found neither",
            path.string());
    files.push_back(path);
  }
}

std::vector<std::string> expand_glob(const std::string& pattern) {
  glob_t found{};
  const int status = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  std::vector<std::string> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  require(status == 0 || status == GLOB_NOMATCH, "{}: cannot read a directory of this pattern",
          pattern);
  return paths;
}

bool matches_any(const fs::path& path, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const bool whole = pattern.find('/') != std::string::npos;
    const std::string subject = whole ? path.string() : path.filename().string();
    return ::fnmatch(pattern.c_str(), subject.c_str(), 0) == 0;
  });
}

// Keeps the first name of every file.
void drop_other_names(std::vector<fs::path>& files) {
  std::set<std::pair<dev_t, ino_t>> seen;
  std::erase_if(files, [&](const fs::path& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && !seen.emplace(status.st_dev, status.st_ino).second;
  });
}

}  // namespace

std::vector<fs::path> list_inputs(const std::vector<std::string>& paths_or_globs,
                                  const std::vector<std::string>& include,
                                  const std::vector<std::string>& exclude) {
  std::vector<fs::path> files;
  for (const std::string& name : paths_or_globs) {
    std::error_code error;
    const bool is_glob = name.find_first_of("*?[") != std::string::npos && !fs::exists(name, error);
    if (!is_glob) {
      add_path(name, files);
      continue;
    }
    const std::vector<std::string> paths = expand_glob(name);
    require(!paths.empty(), "{}: no file matches", name);
    for (const std::string& path : paths) add_path(path, files);
  }

  std::erase_if(files, [&](const fs::path& path) {
    return (!include.empty() && !matches_any(path, include)) || matches_any(path, exclude);
  });
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  drop_other_names(files);
  require(!files.empty(), "{}: no input file{}", fmt::join(paths_or_globs, ", "),
          include.empty() && exclude.empty() ? "" : " that the include and exclude patterns leave");
  return files;
}

}  // namespace midfill
