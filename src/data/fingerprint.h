// Whether a file is what it was: a name for its contents.
#pragma once

#include <filesystem>
#include <string>

namespace midfill {

// 32 hexadecimal digits: XXH3-128 of a file's size and contents. Of a file over 256 MiB 1024 blocks
// are read, the first, the last and others evenly between, 256 MiB in all: what was built anew
// gives another name, a few bytes changed by hand may not. Throws Error where it cannot be read.
std::string fingerprint_of_file(const std::filesystem::path& path);

// Of PREFIX.bin and PREFIX.idx together.
std::string fingerprint_of_dataset(const std::string& prefix);

}  // namespace midfill
