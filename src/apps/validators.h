// What the values of options must be, beyond their type.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/common/thread_count.h"  // kMostThreads
#include "src/io/json.h"

namespace midfill {

// Whole numbers in [low, high] alone. CLI11's own conversion takes an empty text for 0, and wraps
// or clamps what does not fit.
inline CLI::Validator whole_number(uint64_t low, uint64_t high) {
  return {[low, high](std::string& text) {
            uint64_t value = 0;
            const char* end = text.data() + text.size();
            const auto read = std::from_chars(text.data(), end, value);
            if (read.ec == std::errc() && read.ptr == end && low <= value && value <= high)
              return std::string();
            return fmt::format("found \"{}\", expected a whole number from {} to {}", text, low,
                               high);
          },
          fmt::format("{}..{}", low, high)};
}

// Numbers that a double holds. CLI11's own conversion takes 1e-400 for 0 and an empty text too, and
// lets nan and inf through.
inline CLI::Validator number() {
  return {[](std::string& text) {
            double value = 0.0;
            const char* end = text.data() + text.size();
            const auto read = std::from_chars(text.data(), end, value);
            if (read.ec == std::errc() && read.ptr == end && std::isfinite(value) &&
                !is_too_small(value, text))
              return std::string();
            return fmt::format(
                "found \"{}\", expected a number: 0, or from 2.3e-308 to 1.7e+308 in size", text);
          },
          ""};
}

// Refuses what an unset variable of a shell leaves.
inline CLI::Validator not_empty() {
  return {[](std::string& text) {
            return text.empty() ? std::string("found nothing, expected a name") : std::string();
          },
          ""};
}

}  // namespace midfill
