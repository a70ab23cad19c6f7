#include "src/io/json.h"

#include <set>
#include <string>
#include <vector>

#include "kernels/common/check.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {
// nlohmann's messages read "[json.exception.parse_error.101] parse error at line 1, column 2: ...".
std::string without_tag(const std::string& message) {
  const size_t end = message.find("] ");
  return end == std::string::npos ? message : message.substr(end + 2);
}
}  // namespace

Json parse_json(std::string_view text, std::string_view origin, int max_depth) {
  require(!text.starts_with("\xEF\xBB\xBF"),
          "{}: starts with a byte order mark, expected plain UTF-8 JSON", origin);
  // nlohmann takes a NUL for the end of the text and would ignore what follows.
  require(text.find('\0') == text.npos, "{}: not valid JSON: a NUL byte at byte {}", origin,
          text.find('\0'));
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    require(depth <= max_depth, "{}: nested deeper than {} levels", origin, max_depth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        fail("{}: key {} stands twice in one object", origin, in_quotes(key));
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", origin, one_line(without_tag(error.what())));
  }
}

}  // namespace midfill
