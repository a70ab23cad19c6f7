// The text of a document out of a line of JSON.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace midfill {

class JsonLine {
 public:
  // `key` names the text: a key of the object; or, where the object has no key of that very name,
  // keys of objects inside one another, joined by dots ("meta.source.text").
  explicit JsonLine(std::string key);
  ~JsonLine();
  JsonLine(JsonLine&&) noexcept;

  // Puts the text into `text`, valid UTF-8. The line, which may hold any bytes, is read whole: one
  // that breaks off behind the text is broken too. Numbers may be of any size, NaN, Infinity and
  // -Infinity, as Python writes them; nobody reads them, and they may be lost from `line`. Throws
  // Error saying what is wrong with it (not JSON, no object, no string under the key, a key twice
  // on the way, a byte order mark). Memory: a few times the longest line.
  void text_of(std::string& line, std::string& text);

 private:
  struct Impl;
  std::string key_;
  std::vector<std::string> path_;  // the key split at its dots; empty where it has none
  std::unique_ptr<Impl> impl_;
};

}  // namespace midfill
