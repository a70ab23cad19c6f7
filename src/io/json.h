// JSON read strictly: duplicate keys, a byte order mark, NaN, numbers that overflow or underflow
// and nesting past a limit are errors; what is no JSON at all, with line and column.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace midfill {

// Keeps the order of keys as written.
using Json = nlohmann::ordered_json;

// What becomes of numbers that are too small for a double: an Error, or zero (or a subnormal) where
// nobody reads them.
enum class TooSmall { error, zero };

// `origin` names the text in errors: a path, or "--set optim.lr".
Json parse_json(std::string_view text, std::string_view origin, int max_depth = 64,
                TooSmall too_small = TooSmall::error);

// A file of lines of JSON may begin with a byte order mark, as some editors and databases write it.
std::string_view without_byte_order_mark(std::string_view file);

// What keeps a text of one line from being JSON, and where: "byte 12: syntax error ...". Empty
// where it is JSON; duplicate keys, numbers of any size and depth are no matter here.
std::string json_error(std::string_view line);

// Whether a number that was read from `text` lost digits because it is too small: it is subnormal,
// or 0 while the text says something else.
bool is_too_small(double value, std::string_view text);

}  // namespace midfill
