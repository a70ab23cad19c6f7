// What commands that read documents say about bad ones.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>

#include "src/data/documents.h"

namespace midfill {

// The first bad lines, and every note, by `say`, a line each.
inline InputReports shown_reports(bool strict, const std::function<void(const std::string&)>& say) {
  constexpr int kBadLinesShown = 10;
  return {.strict = strict,
          .on_bad =
              [say, shown = 0](const std::string& message) mutable {
                ++shown;
                if (shown <= kBadLinesShown) say(fmt::format("midfill: skipped: {}", message));
                if (shown == kBadLinesShown + 1) say("midfill: further bad lines are not shown");
              },
          .on_note = [say](const std::string& text) { say(fmt::format("midfill: {}", text)); }};
}

// The help of --input and --text-key, which `data build` and `tokenizer train` take alike.
constexpr const char* kInputHelp =
    "files, directories (read recursively) or globs, compressed or not (gzip, zstd, xz, bzip2): "
    ".jsonl, .ndjson and the like hold a document a line, and so does a .json file whose first "
    "line is an object with the text key; any other file is one document; binary files are passed "
    "over; - alone: lines on standard input";
constexpr const char* kTextKeyHelp =
    "key of the text in JSON lines; a.b: key b of the object under key a, where no key is named "
    "a.b";

}  // namespace midfill
