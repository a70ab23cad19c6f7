// Builds the fields of one section of the configuration, one method for each kind of value. Only
// fields.cpp includes this.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/config/fields.h"

namespace midfill {

inline constexpr double kUnbounded = std::numeric_limits<double>::infinity();
// What kernels take as f32: between these it is a normal number there, neither 0 nor infinity.
inline constexpr double kSmallestF32 = 1.2e-38, kLargestF32 = 3.4e38;
static_assert(kSmallestF32 >= std::numeric_limits<float>::min() &&
              kLargestF32 <= std::numeric_limits<float>::max());

// Numbers like 1e6 are integers too, as long as a double holds them exactly.
inline std::optional<int64_t> as_integer(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto n = value.get<uint64_t>();
    if (n > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
    return static_cast<int64_t>(n);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double x = value.get<double>();
  if (!(std::abs(x) <= 0x1p53) || x != std::floor(x)) return std::nullopt;
  return static_cast<int64_t>(x);
}

// Also what a path may be.
inline bool is_plain_text(const Json& json) {
  if (!json.is_string()) return false;
  const auto& text = json.get_ref<const std::string&>();
  return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 32 || c == 127; });
}

// Collects the fields of one section; `Section` is the struct, `member` its place in Config.
template <typename Section>
class SectionFields {
 public:
  SectionFields(std::vector<Field>& out, std::string_view section, Section Config::*member)
      : out_(out), section_(section), member_(member) {}

  template <typename T>
  void integer(std::string_view key, T Section::*value, int64_t low, int64_t high,
               std::string_view meaning, bool may_change = false) {
    add(key, fmt::format("an integer in {}..{}", low, high), meaning, value, may_change,
        [low, high](const Json& json, T& out) {
          const auto n = as_integer(json);
          if (!n || *n < low || *n > high) return false;
          out = static_cast<T>(*n);
          return true;
        });
  }

  // Values in [low, high], or (low, high] where `open`; high may be unbounded.
  void number(std::string_view key, double Section::*value, double low, double high, bool open,
              std::string_view meaning, bool may_change = false) {
    const std::string expected =
        high == kUnbounded ? fmt::format("a number {} {}", open ? ">" : ">=", low)
                           : fmt::format("a number in {}{}, {}]", open ? "(" : "[", low, high);
    number_where(key, expected, value, meaning, may_change,
                 [low, high, open](double x) { return (open ? x > low : x >= low) && x <= high; });
  }

  // What a kernel takes as f32: a normal number there, up to `high`; or 0 where `or_zero`.
  void f32(std::string_view key, double Section::*value, bool or_zero, double high,
           std::string_view meaning, bool may_change = false) {
    const std::string expected =
        fmt::format("{}a number in [{}, {}]", or_zero ? "0 or " : "", kSmallestF32, high);
    number_where(key, expected, value, meaning, may_change, [or_zero, high](double x) {
      return (or_zero && x == 0) || (x >= kSmallestF32 && x <= high);
    });
  }

  void boolean(std::string_view key, bool Section::*value, std::string_view meaning,
               bool may_change = false) {
    add(key, "true or false", meaning, value, may_change, [](const Json& json, bool& out) {
      if (!json.is_boolean()) return false;
      out = json.get<bool>();
      return true;
    });
  }

  void text(std::string_view key, std::string Section::*value, std::string_view meaning,
            bool may_change = false) {
    add(key, "a text without control characters", meaning, value, may_change,
        [](const Json& json, std::string& out) {
          if (!is_plain_text(json)) return false;
          out = json.get<std::string>();
          return true;
        });
    out_.back().is_text = true;
  }

  // `read` and `write` convert between JSON and the list; `read` may throw.
  template <typename T>
  void text_or_list(std::string_view key, std::vector<T> Section::*value, std::string expected,
                    std::function<bool(const Json&, const std::string&, std::vector<T>&)> read,
                    std::function<Json(const std::vector<T>&)> write, std::string_view meaning,
                    std::string_view only_change) {
    Field field = common(key, std::move(expected), meaning, true);
    field.is_text = field.takes_list = true;
    field.only_change = only_change;
    field.set = [member = member_, value, read, name = field.name()](Config& config,
                                                                     const Json& json) {
      return read(json, name, config.*member.*value);
    };
    field.get = [member = member_, value, write](const Config& config) {
      return write(config.*member.*value);
    };
    out_.push_back(std::move(field));
  }

  template <typename E>
  void choice(std::string_view key, E Section::*value,
              std::vector<std::pair<std::string_view, E>> names, std::string_view meaning,
              bool may_change = false) {
    std::string expected = "one of";
    for (const auto& [name, unused] : names)
      expected += fmt::format("{} \"{}\"", name == names.front().first ? "" : ",", name);
    Field field = common(key, std::move(expected), meaning, may_change);
    field.is_text = true;
    field.set = [member = member_, value, names](Config& config, const Json& json) {
      for (const auto& [name, e] : names)
        if (json.is_string() && json.get_ref<const std::string&>() == name) {
          config.*member.*value = e;
          return true;
        }
      return false;
    };
    field.get = [member = member_, value, names](const Config& config) {
      const auto same = [&](const auto& name) { return name.second == config.*member.*value; };
      return Json(std::find_if(names.begin(), names.end(), same)->first);
    };
    out_.push_back(std::move(field));
  }

 private:
  Field common(std::string_view key, std::string expected, std::string_view meaning,
               bool may_change) {
    Field field;
    field.section = section_;
    field.key = key;
    field.meaning = meaning;
    field.expected = std::move(expected);
    field.may_change = may_change;
    return field;
  }

  template <typename Allowed>
  void number_where(std::string_view key, std::string expected, double Section::*value,
                    std::string_view meaning, bool may_change, Allowed allowed) {
    add(key, std::move(expected), meaning, value, may_change,
        [allowed](const Json& json, double& out) {
          if (!json.is_number()) return false;
          const double x = json.get<double>();
          if (!std::isfinite(x) || !allowed(x)) return false;
          out = x;
          return true;
        });
  }

  template <typename T, typename Store>
  void add(std::string_view key, std::string expected, std::string_view meaning, T Section::*value,
           bool may_change, Store store) {
    Field field = common(key, std::move(expected), meaning, may_change);
    field.set = [member = member_, value, store](Config& config, const Json& json) {
      return store(json, config.*member.*value);
    };
    field.get = [member = member_, value](const Config& config) {
      return Json(config.*member.*value);
    };
    out_.push_back(std::move(field));
  }

  std::vector<Field>& out_;
  std::string_view section_;
  Section Config::*member_;
};

}  // namespace midfill
