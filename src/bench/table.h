// A table in Markdown, with its columns aligned for the terminal.
#pragma once

#include <string>
#include <vector>

namespace midfill {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  // As many cells as the header has.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "0.0123", "1.23", "12.3", "123", "1234"; "–" for what is not finite, a ratio to nothing.
std::string three_digits(double value);

}  // namespace midfill
