// The list of configuration keys: each once, with everything that parsing, writing, documentation
// and suggestions derive from it. Only src/config includes this.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "src/config/config.h"
#include "src/io/json.h"

namespace midfill {

struct Field {
  std::string_view section, key;  // section "": top level
  std::string_view meaning;
  std::string expected;     // "an integer in 1..1024"
  bool is_text = false;     // its JSON value is a string
  bool takes_list = false;  // it may be a list of objects as well
  bool may_change = false;  // a resumed run may give another value
  // Of such a list a resumed run may change this key of each object alone; empty: anything.
  std::string_view only_change;
  // Stores a value; false where it is of another type or out of range, Error where there is more to
  // say about something within it.
  std::function<bool(Config&, const Json&)> set;
  std::function<Json(const Config&)> get;

  // "optim.lr", "seed"
  std::string name() const {
    return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
  }
};

// In the order of the structs in config.h.
const std::vector<Field>& fields();

}  // namespace midfill
