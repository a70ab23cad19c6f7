// A .jsonl file of arbitrary bytes. What is read from its lines is what the other JSON parser makes
// of them, with the numbers that Python writes allowed. Under the name .json the same file holds
// these documents too where its first line is one, and at most itself where not.
#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "kernels/common/check.h"
#include "src/data/documents.h"
#include "src/data/foreign_format.h"
#include "src/data/json_line.h"
#include "src/io/json.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace midfill;

constexpr size_t kDeepest = 1000;  // nested deeper, a line is left out: parsers have limits
// Opening a file costs as much as many lines: done for one input in so many.
constexpr size_t kInputsAFile = 8;

// The line with numbers that nlohmann's parser takes: null for NaN and infinities, exponents of 0,
// few digits.
std::string with_plain_numbers(std::string_view line) {
  constexpr size_t kDigits = 100;
  std::string out;
  bool in_string = false;
  size_t digits = 0;  // in a row, outside of strings
  for (size_t at = 0; at < line.size(); ++at) {
    const std::string_view rest = line.substr(at);
    if (in_string) {
      out += line[at];
      if (line[at] == '\\' && rest.size() > 1) out += line[++at];
      in_string = line[at] != '"' || rest.starts_with('\\');
      continue;
    }
    bool named = false;
    for (const std::string_view name : {"NaN", "-Infinity", "Infinity"}) {
      if (named || !rest.starts_with(name)) continue;
      out += "null";
      at += name.size() - 1;
      named = true;
    }
    if (named) continue;
    const bool digit = line[at] >= '0' && line[at] <= '9';
    digits = digit ? digits + 1 : 0;
    if (digits <= kDigits) out += line[at];
    in_string = line[at] == '"';
    if (line[at] == 'e' || line[at] == 'E') {
      size_t end = at + 1;
      if (end < line.size() && (line[end] == '+' || line[end] == '-')) out += line[end++];
      const size_t exponent = end;
      while (end < line.size() && line[end] >= '0' && line[end] <= '9') ++end;
      if (end > exponent) out += '0';
      at = end - 1;
    }
  }
  return out;
}

// A line as nlohmann's parser reads it, with what it forgets: which keys stand twice.
class Parsed {
 public:
  explicit Parsed(std::string_view line) {
    if (line.starts_with("\xEF\xBB\xBF") || line.find('\0') != line.npos) return;
    root_ = Json::parse(
        with_plain_numbers(line),
        [this](int, Json::parse_event_t event, Json& value) { return watch(event, value); }, false);
  }

  bool too_deep() const { return deepest_ > kDeepest; }
  bool has_twins() const { return !twins_.empty(); }

  // The text that `keys`, inside one another, lead to; nothing for a bad line.
  std::optional<std::string> text(const std::vector<std::string>& keys) const {
    if (root_.is_discarded() || !root_.is_object()) return std::nullopt;
    const Json* value = &root_;
    std::string path;
    for (const std::string& key : keys) {
      path += '/' + key;
      if (!value->is_object() || !value->contains(key) || twins_.contains(path))
        return std::nullopt;
      value = &(*value)[key];
    }
    if (!value->is_string()) return std::nullopt;
    return value->get<std::string>();
  }

 private:
  struct Open {
    std::set<std::string> keys;
    std::string path;  // with the key that is being read
  };

  bool watch(Json::parse_event_t event, const Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      open_.push_back({.keys = {}, .path = open_.empty() ? "" : open_.back().path});
      open_.back().path += event == Event::array_start ? "[]" : "";
      deepest_ = std::max(deepest_, open_.size());
    } else if (event == Event::object_end || event == Event::array_end) {
      open_.pop_back();
    } else if (event == Event::key) {
      Open& object = open_.back();
      const std::string above = open_.size() > 1 ? open_[open_.size() - 2].path : "";
      const auto& key = value.get_ref<const std::string&>();
      object.path = above + '/' + key;
      if (!object.keys.insert(key).second) twins_.insert(object.path);
    }
    return true;
  }

  Json root_ = Json(Json::value_t::discarded);
  std::vector<Open> open_;
  std::set<std::string> twins_;
  size_t deepest_ = 0;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == line.npos;
}

// What JsonLine gives for a line.
std::optional<std::string> text_of(JsonLine& reader, std::string_view line) {
  std::string copy(line), text;
  if (!fuzz::works([&] { reader.text_of(copy, text); })) return std::nullopt;
  return text;
}

std::string shown(const std::optional<std::string>& text) {
  return text ? fmt::format("\"{}\"", *text) : "an Error";
}

// What a file of these lines is read as.
void check_file(std::string_view name, std::string_view bytes,
                const std::vector<std::string>& expected, size_t bad) {
  const std::filesystem::path path = fuzz::scratch_file(name, bytes);
  std::vector<std::string> documents;
  BlockCounts counts;
  const bool read = fuzz::works([&] {
    DocumentReader reader({{.path = path, .named = true}}, {});
    for (std::string text; reader.next(text);) documents.push_back(text);
    counts = reader.counts();
  });
  fuzz::expect(read, "the file is refused, not its bad lines");
  fuzz::expect(documents == expected && counts.bad.size() == bad,
               "{} documents and {} bad lines, expected {} and {}", documents.size(),
               counts.bad.size(), expected.size(), bad);
  for (const InputNote& line : counts.bad)
    fuzz::works([&] { throw Error(line.what); });  // checks the message
}

// The file as .jsonl, and as .json, where the first line decides.
void check_files(std::string_view bytes, const std::vector<std::string>& documents, size_t bad,
                 bool first_is_document) {
  check_file("d.jsonl", bytes, documents, bad);
  if (first_is_document) {
    check_file("d.json", bytes, documents, bad);
  } else {
    const std::filesystem::path path = fuzz::scratch_file("d.json", bytes);
    DocumentReader reader({{.path = path, .named = true}}, {});
    std::vector<std::string> found;
    fuzz::expect(fuzz::works([&] {
                   for (std::string text; reader.next(text);) found.push_back(text);
                 }),
                 "a text is refused");
    fuzz::expect(found.empty() || (found.size() == 1 && found[0] == bytes),
                 "a text is read as {} others", found.size());
  }
}

// Whether a file that begins so may be anything but text and lines.
bool begins_as_text(std::string_view bytes) {
  return foreign_format(bytes.substr(0, 8192)).empty() &&
         std::string_view("{[\" \t\r\n\xEF").find(bytes.empty() ? ' ' : bytes[0]) !=
             std::string_view::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static JsonLine plain("text"), nested("a.text");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> documents;
  size_t bad = 0;
  bool sure = begins_as_text(bytes);  // of `documents` and `bad`
  std::optional<bool> first_is_document;
  bool at_the_start = true;
  for (fuzz::Input lines(data, size); !lines.empty(); at_the_start = false) {
    std::string_view line = lines.until('\n');
    if (at_the_start && line.starts_with("\xEF\xBB\xBF")) {
      fuzz::expect(!text_of(plain, line), "a line may begin with a byte order mark");
      line.remove_prefix(3);
    }
    if (is_blank(line)) continue;
    const Parsed parsed(line);
    // A key that stands twice where the text is not may be an error too.
    sure = sure && !parsed.too_deep() && !parsed.has_twins();
    if (parsed.too_deep()) continue;
    const auto check = [&](JsonLine& reader, const std::optional<std::string>& expected) {
      const auto text = text_of(reader, line);
      fuzz::expect(text == expected || (!text && parsed.has_twins()), "the text is {}, expected {}",
                   shown(text), shown(expected));
    };
    const std::optional<std::string> text = parsed.text({"text"});
    check(plain, text);
    const auto whole_key = parsed.text({"a.text"});
    if (line.find("a.text") == line.npos) check(nested, parsed.text({"a", "text"}));
    if (whole_key) check(nested, whole_key);

    if (!first_is_document) first_is_document = text.has_value();
    if (!text) ++bad;
    if (text && !text->empty()) documents.push_back(*text);
  }
  if (sure && size % kInputsAFile == 0)
    check_files(bytes, documents, bad, first_is_document.value_or(false));
  return 0;
}
