// The files that a command's --input, --include and --exclude name.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace midfill {

struct InputPath {
  std::filesystem::path path;
  bool named = true;  // itself or by a glob; false: it was found below a directory
  bool operator==(const InputPath&) const = default;
};

// Every file that `paths_or_globs` name, each once (also where it has several names through links),
// sorted bytewise by path, so that the list does not depend on the order of directory entries.
//   a file       itself; a symbolic link to a file counts as a file
//   a directory  its files, recursively; linked directories, pipes and devices are passed over
//   a glob       where no file has that very name: what *, ? and [...] match, each as above
// With `include`, only files that match one of its patterns; files that match `exclude` never. A
// pattern without a slash is compared with the file's name ("*.py"), one with a slash with its
// whole path ("*/test/*"); `*` matches slashes too.
// Throws Error where a named path does not exist, a glob matches nothing, a directory cannot be
// read, or no file is left.
std::vector<InputPath> list_inputs(const std::vector<std::string>& paths_or_globs,
                                   const std::vector<std::string>& include = {},
                                   const std::vector<std::string>& exclude = {});

}  // namespace midfill
