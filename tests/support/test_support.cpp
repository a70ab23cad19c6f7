#include "tests/support/test_support.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "kernels/common/check.h"

namespace midfill::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "midfill-test-XXXXXX").string();
  require(::mkdtemp(pattern.data()) != nullptr, "cannot create {}", pattern);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "expected midfill::Error, found another exception: " << error.what();
    return "";
  }
  ADD_FAILURE() << "expected an error, found none";
  return "";
}

std::optional<std::filesystem::path> test_data(const std::string& name) {
  const char* directory = std::getenv("MIDFILL_TEST_DATA");
  if (!directory) return std::nullopt;
  const auto path = std::filesystem::path(directory) / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  ASSERT_TRUE(file.good()) << path;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace midfill::test
