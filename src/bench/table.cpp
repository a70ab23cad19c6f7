#include "src/bench/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace midfill {

namespace {

// Characters on the terminal: bytes that do not continue one in UTF-8.
size_t width_of(const std::string& cell) {
  return static_cast<size_t>(
      std::ranges::count_if(cell, [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string Table::text() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (size_t i = 0; i < widths.size(); ++i)
      text += fmt::format("| {}{:{}} ", rows_[r][i], "", widths[i] - width_of(rows_[r][i]));
    text += "|\n";
    if (r > 0) continue;
    for (size_t width : widths) text += fmt::format("|{:-<{}}", "", width + 2);
    text += "|\n";
  }
  return text;
}

std::string three_digits(double value) {
  if (!std::isfinite(value)) return "–";
  if (value == 0) return "0";
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(value))));
  return fmt::format("{:.{}f}", value, std::clamp(2 - magnitude, 0, 9));
}

}  // namespace midfill
