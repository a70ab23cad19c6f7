#include "src/io/inputs.h"

#include <fnmatch.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <utility>

#include "kernels/common/check.h"

namespace midfill {

namespace {

namespace fs = std::filesystem;

void add_directory(const fs::path& directory, std::vector<InputPath>& files) {
  try {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
      std::error_code broken_link;
      if (entry.is_regular_file(broken_link))
        files.push_back({.path = entry.path(), .named = false});
    }
  } catch (const fs::filesystem_error& error) {
    fail("{}: cannot list: {}", error.path1().empty() ? directory.string() : error.path1().string(),
         error.code().message());
  }
}

void add_path(const fs::path& path, std::vector<InputPath>& files) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  require(fs::exists(status), "{}: no such file or directory", path.string());
  if (fs::is_directory(status)) {
    add_directory(path, files);
  } else {
    require(fs::is_regular_file(status), "{}: expected a file or a directory, found neither",
            path.string());
    files.push_back({.path = path, .named = true});
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

// Keeps the first name of every file; a file is named where any of its names was.
void drop_other_names(std::vector<InputPath>& files) {
  std::map<std::pair<dev_t, ino_t>, size_t> seen;  // by the place in `kept`
  std::vector<InputPath> kept;
  for (InputPath& file : files) {
    struct stat status {};
    if (::stat(file.path.c_str(), &status) == 0) {
      const auto [at, is_new] = seen.emplace(std::pair(status.st_dev, status.st_ino), kept.size());
      if (!is_new) {
        kept[at->second].named |= file.named;
        continue;
      }
    }
    kept.push_back(std::move(file));
  }
  files = std::move(kept);
}

}  // namespace

std::vector<InputPath> list_inputs(const std::vector<std::string>& paths_or_globs,
                                   const std::vector<std::string>& include,
                                   const std::vector<std::string>& exclude) {
  std::vector<InputPath> files;
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

  std::erase_if(files, [&](const InputPath& file) {
    return (!include.empty() && !matches_any(file.path, include)) ||
           matches_any(file.path, exclude);
  });
  std::sort(files.begin(), files.end(), [](const InputPath& a, const InputPath& b) {
    return a.path.native() < b.path.native();
  });
  drop_other_names(files);
  require(!files.empty(), "{}: no input file{}", fmt::join(paths_or_globs, ", "),
          include.empty() && exclude.empty() ? "" : " that the include and exclude patterns leave");
  return files;
}

}  // namespace midfill
