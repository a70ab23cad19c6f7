// What the fuzzers share. Each is one file with LLVMFuzzerTestOneInput, which libFuzzer calls with
// bytes of its own making. A fuzzer ends with a crash where midfill breaks its promise: any input
// works, or is an Error of one line.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace midfill::fuzz {

// Says what is wrong and aborts, which libFuzzer takes for a find.
[[noreturn]] void found(const std::string& what);

template <typename... Args>
void expect(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    found(fmt::format(format, std::forward<Args>(args)...));
}

// True where `action` returns, false where it throws an Error as a user may see it: one line, no
// control characters, not longer than a screen. Whatever else it throws ends the fuzzer.
bool works(const std::function<void()>& action);

// The bytes of a run, taken from the front. Reading past the end gives zeros.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return left_.empty(); }
  uint8_t byte() { return static_cast<uint8_t>(number(1)); }
  uint64_t number(size_t bytes);        // little-endian
  std::string_view take(size_t bytes);  // at most
  std::string_view until(char end);     // without `end`, which is passed over
  std::string_view rest() { return take(left_.size()); }

 private:
  std::string_view left_;
};

// A file `name` of this process in TMPDIR (scripts/fuzz.sh: in memory), with these bytes.
std::filesystem::path scratch_path(std::string_view name);
std::filesystem::path scratch_file(std::string_view name, std::string_view bytes);

}  // namespace midfill::fuzz
