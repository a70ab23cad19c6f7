// Filling in the middle: the prompt that asks a model for what stands between a prefix and a
// suffix.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "src/config/config.h"
#include "src/data/sample.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct InfillOptions {
  SegmentKind mode = SegmentKind::psm;  // not ar
  // An EOD before the prompt tells the model that the prefix begins a document.
  bool document_start = false;
};

struct InfillPrompt {
  std::vector<TokenId> tokens;
  // Tokens given up where the context is too short: at the left of the prefix, at the right of the
  // suffix.
  int64_t dropped_prefix = 0, dropped_suffix = 0;
};

// The prompt, laid out as in training (src/data/fim.h) up to where the middle begins, in at most
// `max_tokens` tokens: the very tokens that training has for a context cut at this place, be it
// inside a word or a run of spaces. Prefix and suffix are encoded separately, and text that spells
// a special token stays text. Where both are too long, each keeps half of the room and loses whole
// tokens, since contexts begin and end at tokens; what text is left is encoded as if there were
// nothing beyond, as training does. Throws Error where the tokenizer lacks a sentinel, not one
// token of text would fit, or a character of UTF-8 is cut in two.
//   psm    [EOD] PRE prefix SUF suffix MID
//   spm1   [EOD] SUF suffix PRE prefix MID
//   spm2   [EOD] PRE SUF suffix MID prefix
InfillPrompt infill_prompt(const Tokenizer& tokenizer, std::string_view prefix,
                           std::string_view suffix, int64_t max_tokens,
                           const InfillOptions& options);

// "psm", "spm1", "spm2". Throws Error for another name.
SegmentKind infill_mode(std::string_view name);
// The mode that training saw most; psm where several are equal.
SegmentKind usual_mode(const FimConfig& fim);

struct Hole {
  std::string prefix, suffix;
};

// The text around its one "<FILL>". Throws Error (origin, lines) where there is none or another.
Hole split_at_mark(std::string_view text, std::string_view origin);

// A task of an infilling benchmark.
struct InfillTask {
  std::string task_id, prefix, suffix;
};

// Reads JSONL (also .gz, .zst) of objects with the strings task_id, prompt and suffix, as
// human-eval-infilling has them; other keys are passed over. Throws Error (file, line) for anything
// else, and for a file without tasks.
std::vector<InfillTask> read_tasks(const std::filesystem::path& path);

}  // namespace midfill
