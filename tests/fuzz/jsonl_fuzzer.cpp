// A .jsonl file of arbitrary bytes. What is read from it is what a plain parse of each line with
// the other JSON parser gives.
#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/common/check.h"
#include "src/data/documents.h"
#include "src/io/json.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace midfill;

constexpr int kDeepest = 1000;  // nested deeper, a line is left out: parsers differ in their limits
const std::string kKey = "text";

struct Line {
  bool known = true;                // whether this file's opinion counts
  std::optional<std::string> text;  // nothing: a bad line
};

Line parse(std::string_view line) {
  if (line.starts_with("\xEF\xBB\xBF") || line.find('\0') != line.npos) return {};
  int depth = 0, texts = 0;
  const auto watch = [&](int at, Json::parse_event_t event, Json& value) {
    depth = std::max(depth, at);
    if (at == 1 && event == Json::parse_event_t::key && value == kKey) ++texts;
    return true;
  };
  const Json root = Json::parse(line, watch, false);
  if (depth > kDeepest) return {.known = false, .text = {}};
  if (root.is_discarded() || !root.is_object() || texts != 1 || !root[kKey].is_string()) return {};
  return {.known = true, .text = root[kKey].get<std::string>()};
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == line.npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> expected;
  int64_t bad_lines = 0, empty = 0;
  for (fuzz::Input lines(data, size); !lines.empty();) {
    const std::string_view line = lines.until('\n');
    if (is_blank(line)) continue;
    const Line parsed = parse(line);
    if (!parsed.known) return 0;
    if (!parsed.text) {
      ++bad_lines;
    } else if (parsed.text->empty()) {
      ++empty;
    } else {
      expected.push_back(*parsed.text);
    }
  }

  const auto path = fuzz::scratch_file("d.jsonl", fuzz::Input(data, size).rest());
  std::vector<std::string> documents;
  BlockCounts counts;
  const auto read_all = [&] {
    DocumentReader reader({path}, {.text_key = kKey});
    for (std::string text; reader.next(text);) documents.push_back(text);
    counts = reader.counts();
  };
  fuzz::expect(fuzz::works(read_all), "bad lines are passed over, but the file is refused");
  fuzz::expect(documents == expected, "{} documents, expected {}", documents.size(),
               expected.size());
  fuzz::expect(static_cast<int64_t>(counts.bad.size()) == bad_lines && counts.empty == empty,
               "{} bad lines and {} empty documents, expected {} and {}", counts.bad.size(),
               counts.empty, bad_lines, empty);
  for (const BadInput& bad : counts.bad) fuzz::works([&] { throw Error(bad.what); });  // one line
  return 0;
}
