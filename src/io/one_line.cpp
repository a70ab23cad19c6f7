#include "src/io/one_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace midfill {

namespace {

// The bytes of the character that `text` begins with; 0 where it is a control character or no
// UTF-8.
size_t printable_bytes(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7F ? 1 : 0;
  const size_t length = first < 0xC2   ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return first == 0xC2 && byte(1) < 0xA0 ? 0 : length;
}

void append_escaped(std::string& line, std::string_view text) {
  while (!text.empty()) {
    const size_t n = printable_bytes(text);
    if (n > 0) {
      line += text.substr(0, n);
    } else if (text[0] == '\n') {
      line += "\\n";
    } else {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    }
    text.remove_prefix(n > 0 ? n : 1);
  }
}

}  // namespace

std::string one_line(std::string_view text, size_t longest) {
  std::string line;
  if (text.size() <= longest) {
    append_escaped(line, text);
  } else {
    const size_t tail = longest / 4;
    append_escaped(line, text.substr(0, longest - tail));
    line += "...";
    append_escaped(line, text.substr(text.size() - tail));
  }
  return line;
}

std::string in_quotes(std::string_view name) {
  constexpr size_t kLongest = 100;
  using nlohmann::json;
  std::string text = json(std::string(name.substr(0, kLongest)))
                         .dump(-1, ' ', true, json::error_handler_t::replace);
  return name.size() > kLongest ? text + "..." : text;
}

}  // namespace midfill
