// What the subcommands of `bench` do with their reports.
#pragma once

#include <functional>
#include <string>

#include "src/io/json.h"

namespace midfill {

// Makes a report and prints it: as text, or for "-" as JSON with this indent; another name than ""
// is a file that gets the JSON as well, opened first, so that a name that cannot be written is
// found out before minutes of measuring. Gives the exit status.
int print_bench_report(const std::string& json, int indent, const std::function<Json()>& make,
                       const std::function<std::string(const Json&)>& text);

}  // namespace midfill
