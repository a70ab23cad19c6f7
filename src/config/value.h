// One value under its key: for files of other programs, which name the same things otherwise.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "src/config/config.h"
#include "src/io/json.h"

namespace midfill {

// Stores `value` under `key` ("model.d_ff"), which must be one. Where the key does not take it,
// stores nothing and gives what it takes: "an integer in 1..1048576".
std::optional<std::string> set_value(Config& config, std::string_view key, const Json& value);

}  // namespace midfill
