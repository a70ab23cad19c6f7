// What people name as input that is neither text nor lines of JSON, known by its first bytes.
#pragma once

#include <string>
#include <string_view>

namespace midfill {

// What a file is whose first 8 KiB (all of it, where it is shorter) these are, and how its text
// gets out, for a message: "a Parquet file; write ...". Empty where they begin no format that is
// known.
std::string foreign_format(std::string_view first_bytes);

}  // namespace midfill
