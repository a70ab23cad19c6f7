// Samples made readable.
#pragma once

#include <string>
#include <string_view>

#include "src/data/sample.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// One line of JSON: {"index","source","tokens","segments":[{"kind","begin","end","prefix","middle",
// "suffix"}]}, the parts as text; bytes that are not UTF-8 are replaced by U+FFFD. `source` is the
// name of the sample's source; where it has none, the key is left out.
std::string sample_json(const Sample& sample, const Tokenizer& tokenizer,
                        std::string_view source = {});

// A heading, which names the source, and the text of the sample. With `color`, sentinels, EOD and
// padding stand out and each part has its own color (ANSI escapes).
std::string sample_text(const Sample& sample, const Tokenizer& tokenizer, bool color,
                        std::string_view source = {});

}  // namespace midfill
