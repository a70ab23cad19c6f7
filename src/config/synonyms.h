// What other trainers call the things that the configuration has keys for.
#pragma once

#include <span>
#include <string_view>

namespace midfill {

struct Synonym {
  std::string_view keys;   // of ours: a key, several with blanks between, or a section
  std::string_view note;   // what differs beside the name; may be empty
  std::string_view names;  // of theirs, with blanks between
};

std::span<const Synonym> synonyms();

// The entry for `name`, a key as somebody wrote it: in whatever section or without one, with
// whatever of _, - and capitals between its words. Null where there is none.
const Synonym* find_synonym(std::string_view name);

}  // namespace midfill
