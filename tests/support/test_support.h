// Shared by all tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace midfill::test {

// A directory of its own under the system's temporary directory, removed at the end of the scope.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// The text of the Error that `action` throws; fails the test and gives "" where it throws nothing
// or another type.
std::string error_of(const std::function<void()>& action);

// A file under MIDFILL_TEST_DATA (the 20B tokenizer, HumanEval-infilling), or nothing: then
// GTEST_SKIP().
std::optional<std::filesystem::path> test_data(const std::string& name);

void write_text(const std::filesystem::path& path, const std::string& text);
std::string read_text(const std::filesystem::path& path);

}  // namespace midfill::test
