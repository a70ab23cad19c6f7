#include "src/config/messages.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "src/io/one_line.h"

namespace midfill {

std::string short_dump(const Json& value) {
  return one_line(value.dump(-1, ' ', false, Json::error_handler_t::replace), 80);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace midfill
