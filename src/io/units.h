// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace midfill {

std::string with_commas(int64_t value);     // "1,234,567"
std::string bytes_text(int64_t bytes);      // "17 B", "1.5 GiB"
std::string duration_text(double seconds);  // "59s", "1m01s", "1h02m", "3d04h"
std::string si_text(double value);          // "12.3 k", "8.47 G": put the unit right behind it

}  // namespace midfill
