#include "tests/fuzz/fuzzing.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "kernels/common/check.h"

namespace midfill::fuzz {

namespace {

constexpr size_t kLongestMessage = 2000;  // bytes

// Byte 127, the bytes below 32, and U+0080 to U+009F.
bool has_control_characters(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 32 || byte == 127) return true;
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0)
      return true;
  }
  return false;
}

}  // namespace

void found(const std::string& what) {
  std::fprintf(stderr, "FOUND: %s\n", what.c_str());
  std::abort();
}

bool works(const std::function<void()>& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    const std::string_view text = error.what();
    expect(!text.empty(), "an error without a message");
    expect(text.size() <= kLongestMessage, "a message of {} bytes: {}...", text.size(),
           text.substr(0, 300));
    expect(!has_control_characters(text), "control characters in the message: {}", text);
    return false;
  }
}

uint64_t Input::number(size_t bytes) {
  uint64_t value = 0;
  const std::string_view taken = take(bytes);
  for (size_t i = 0; i < taken.size(); ++i)
    value |= static_cast<uint64_t>(static_cast<unsigned char>(taken[i])) << 8 * i;
  return value;
}

std::string_view Input::take(size_t bytes) {
  const std::string_view taken = left_.substr(0, bytes);
  left_.remove_prefix(taken.size());
  return taken;
}

std::string_view Input::until(char end) {
  const std::string_view taken = take(std::min(left_.find(end), left_.size()));
  take(1);
  return taken;
}

std::filesystem::path scratch_path(std::string_view name) {
  static const std::string kStem =
      (std::filesystem::temp_directory_path() / fmt::format("fuzz-{}-", ::getpid())).string();
  return kStem + std::string(name);
}

std::filesystem::path scratch_file(std::string_view name, std::string_view bytes) {
  std::filesystem::path path = scratch_path(name);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) {
    std::fprintf(stderr, "%s: cannot write\n", path.c_str());
    std::exit(1);
  }
  return path;
}

}  // namespace midfill::fuzz
