// Errors. One type, thrown for anything a user's input or machine can cause; `main` catches it
// once, prints its text as one line and exits non-zero. `assert` is for our own mistakes only.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace midfill {

// The text says which file, where in it, what was found and what was expected, in one line.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

// require(ok, "{}: expected {} tokens, found {}", path, n, m)
template <typename... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace midfill
