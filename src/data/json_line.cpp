#include "src/data/json_line.h"

#include <simdjson.h>

#include <algorithm>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "kernels/common/check.h"
#include "src/io/json.h"

namespace midfill {

namespace {

namespace dom = simdjson::dom;

constexpr size_t kLargeLine = size_t{16}
                              << 20;  // behind a longer one the parser gives its memory back

std::vector<std::string> split_at_dots(const std::string& key) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t dot = key.find('.', begin);
    parts.push_back(key.substr(begin, dot - begin));
    if (dot == std::string::npos) return parts;
    begin = dot + 1;
  }
}

const char* name_of(const dom::element& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "a boolean";
  if (value.is_string()) return "a string";
  if (value.is_number()) return "a number";
  return value.is_array() ? "an array" : "an object";
}

// The value of a key, if it is there.
std::optional<dom::element> find(const dom::element& value, std::string_view key) {
  std::optional<dom::element> found;
  const dom::object object = value;
  for (const auto& [name, member] : object) {
    if (name != key) continue;
    require(!found, "key \"{}\" stands twice", key);
    found = member;
  }
  return found;
}

std::string_view find_text(const dom::element& root, const std::string& key,
                           std::span<const std::string> path) {
  require(root.is_object(), "expected an object, found {}", name_of(root));
  auto value = find(root, key);
  if (!value && !path.empty()) {
    value = root;
    std::string above;
    for (const std::string& step : path) {
      require(value->is_object(), "\"{}\": expected an object, found {}", above, name_of(*value));
      value = find(*value, step);
      above += above.empty() ? step : "." + step;
      require(value.has_value(), "no key \"{}\"", above);
    }
  }
  require(value.has_value(), "no key \"{}\"", key);
  std::string_view text;
  require(!value->get(text), "\"{}\": expected a string, found {}", key, name_of(*value));
  return text;
}

// The number that begins at `at`, as Python writes them: those of JSON, NaN, Infinity, -Infinity.
// Returns its end; `at` where there is none, or more than a number stands there.
size_t number_end(std::string_view line, size_t at) {
  const auto digits = [&](size_t from) {
    while (from < line.size() && line[from] >= '0' && line[from] <= '9') ++from;
    return from;
  };
  size_t end = at;
  if (line.substr(at).starts_with("NaN")) {
    end = at + 3;
  } else {
    if (line[end] == '-') ++end;
    if (line.substr(end).starts_with("Infinity")) {
      end += 8;
    } else {
      const size_t whole = digits(end);
      if (whole == end || (line[end] == '0' && whole > end + 1)) return at;
      end = whole;
      if (end < line.size() && line[end] == '.') {
        const size_t fraction = digits(end + 1);
        if (fraction == end + 1) return at;
        end = fraction;
      }
      if (end < line.size() && (line[end] == 'e' || line[end] == 'E')) {
        const size_t sign = end + 1;
        const bool has_sign = sign < line.size() && (line[sign] == '+' || line[sign] == '-');
        const size_t exponent = digits(sign + (has_sign ? 1 : 0));
        if (exponent == sign + (has_sign ? 1 : 0)) return at;
        end = exponent;
      }
    }
  }
  return end == line.size() ||
                 std::string_view(" \t\r\n,]}").find(line[end]) != std::string_view::npos
             ? end
             : at;
}

// Makes every number outside of strings a 0 with spaces behind it. Nobody reads them, and what the
// parser cannot hold (too large, NaN and infinities as Python writes them) must not cost a
// document.
void forget_numbers(std::string& line) {
  for (size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '"') {
      for (++at; at < line.size() && line[at] != '"'; ++at)
        if (line[at] == '\\') ++at;
    } else if (std::string_view("-0123456789NI").find(line[at]) != std::string_view::npos) {
      const size_t end = number_end(line, at);
      if (end == at) return;  // it is no JSON
      line[at] = '0';
      std::fill(line.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                line.begin() + static_cast<std::ptrdiff_t>(end), ' ');
      at = end - 1;
    }
  }
}

}  // namespace

struct JsonLine::Impl {
  dom::parser parser;
};

JsonLine::JsonLine(std::string key) : key_(std::move(key)), impl_(std::make_unique<Impl>()) {
  if (key_.find('.') != std::string::npos) path_ = split_at_dots(key_);
}
JsonLine::~JsonLine() = default;
JsonLine::JsonLine(JsonLine&&) noexcept = default;

void JsonLine::text_of(std::string& line, std::string& text) {
  if (impl_->parser.capacity() > kLargeLine) impl_ = std::make_unique<Impl>();
  line.reserve(line.size() + simdjson::SIMDJSON_PADDING);
  require(!line.starts_with("\xEF\xBB\xBF"),
          "starts with a byte order mark, which only the first line of a file may");
  dom::element root;
  const auto parse = [&] { return impl_->parser.parse(line.data(), line.size(), false).get(root); };
  auto error = parse();
  if (error && error != simdjson::UTF8_ERROR && error != simdjson::MEMALLOC) {
    forget_numbers(line);
    error = parse();
  }
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  if (error) {
    // The other parser says what and where.
    const std::string why = error == simdjson::UTF8_ERROR ? "" : json_error(line);
    fail("not valid JSON: {}", why.empty() ? simdjson::error_message(error) : why);
  }
  text = find_text(root, key_, path_);
}

}  // namespace midfill
