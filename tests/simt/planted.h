// Kernels with a bug to plant. The file is compiled plainly, for race mode and with sanitizers.
#pragma once

#include <string>
#include <vector>

namespace midfill::simt::test {

enum class Mode { plain, race, asan };
Mode built_mode();

// What finds a bug: a regular expression for the text of an Error (of the report, with sanitizers),
// or one of
inline const std::string kMissed = "";
inline const std::string kWrong = "wrong result";           // in every schedule
inline const std::string kSometimesWrong = "may be wrong";  // in at least one of the schedules

struct Planted {
  const char* name;
  bool (*run)(bool bug);  // whether the result is right
  std::string plain, race;
  std::string asan;  // what sanitizers find beyond the plain checks
};
const std::vector<Planted>& planted_bugs();

}  // namespace midfill::simt::test
