// Text from a file or a command line as it may stand in a message of one line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace midfill {

// Control characters and bytes that are no UTF-8 become \n or \x1b; of a text over `longest` bytes
// the middle is left out.
std::string one_line(std::string_view text, size_t longest = 200);

// A name in quotes, as JSON escapes it, shortened.
std::string in_quotes(std::string_view name);

}  // namespace midfill
