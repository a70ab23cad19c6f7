// What the subcommands of `bench` do with their reports.
#pragma once

#include <functional>
#include <string>

#include "src/apps/apps.h"
#include "src/io/json.h"

namespace midfill {

// --json [FILE], which print_bench_report takes. `place`: what JSON on standard output replaces.
void add_json_option(CLI::App& app, std::string& json, const std::string& place);

// Makes a report and prints it: as text, or for "-" as JSON with this indent; another name than ""
// is a file that gets the JSON as well, opened first, so that a name that cannot be written is
// found out before minutes of measuring. Gives the exit status.
int print_bench_report(const std::string& json, int indent, const std::function<Json()>& make,
                       const std::function<std::string(const Json&)>& text);

}  // namespace midfill
