// What errors say about a key or a value.
#pragma once

#include <string>
#include <string_view>

#include "src/io/json.h"

namespace midfill {

// A value as JSON on one line, cut off where it is long.
std::string short_dump(const Json& value);

// Levenshtein's distance: the smaller, the more alike two keys are.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace midfill
