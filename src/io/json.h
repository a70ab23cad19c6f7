// JSON read strictly: duplicate keys, a byte order mark, NaN, numbers that overflow and nesting
// past a limit are errors, each with file, line and column.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace midfill {

// Keeps the order of keys as written.
using Json = nlohmann::ordered_json;

// `origin` names the text in errors: a path, or "--set optim.lr".
Json parse_json(std::string_view text, std::string_view origin, int max_depth = 64);

}  // namespace midfill
