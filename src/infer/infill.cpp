#include "src/infer/infill.h"

#include <algorithm>
#include <initializer_list>
#include <span>

#include "kernels/common/check.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

using Ids = std::vector<TokenId>;

constexpr int64_t kSentinels = 3;  // PRE, SUF, MID
constexpr std::string_view kMark = "<FILL>";

// A cut that training never makes: it is always between characters.
void refuse_cut_character(std::string_view prefix, std::string_view suffix) {
  for (size_t before = 1; before <= std::min<size_t>(prefix.size(), 3); ++before) {
    const size_t length = unicode::character_length(prefix[prefix.size() - before]);
    if (length <= before || length - before > suffix.size()) continue;
    const std::string character =
        std::string(prefix.substr(prefix.size() - before)).append(suffix, 0, length - before);
    require(!unicode::is_valid_utf8(character),
            "infill: the prefix ends after {} of the {} bytes of a character, \"{}\", whose rest "
            "begins the suffix; expected a cut between characters",
            before, length, character);
  }
}

// What is left of a part.
struct Kept {
  Ids ids;
  int64_t tokens = 0;  // of the part's own that they stand for
};

enum class Side { first, last };

// The first or last tokens of a part that fit into `room`, encoded as training encodes the text of
// a context that ends or begins there: without the text beyond, the piece at that end may be
// another one. The end is between characters.
Kept shorten(const Ids& part, Side side, int64_t room, const Tokenizer& tokenizer) {
  const std::span all(part);
  if (std::ssize(all) <= room) return {part, std::ssize(all)};
  for (int64_t n = room; n > 0; --n) {
    const auto count = static_cast<size_t>(n);
    const std::string text =
        tokenizer.decode(side == Side::first ? all.first(count) : all.last(count));
    if (!unicode::is_valid_utf8(text)) continue;
    Ids ids = tokenizer.encode(text, {.match_special = false});
    if (std::ssize(ids) <= room) return {std::move(ids), n};
  }
  return {};
}

int64_t line_of(std::string_view text, size_t at) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
}

}  // namespace

InfillPrompt infill_prompt(const Tokenizer& tokenizer, std::string_view prefix_text,
                           std::string_view suffix_text, int64_t max_tokens,
                           const InfillOptions& options) {
  const Sentinels& ids = tokenizer.sentinels();
  tokenizer.required_eod();
  require(ids.suf >= 0 && ids.pre >= 0 && ids.mid >= 0,
          "infill: the tokenizer lacks one of <|SUF|> ({}), <|PRE|> ({}), <|MID|> ({})", ids.suf,
          ids.pre, ids.mid);
  refuse_cut_character(prefix_text, suffix_text);
  const Ids prefix_ids = tokenizer.encode(prefix_text, {.match_special = false});
  const Ids suffix_ids = tokenizer.encode(suffix_text, {.match_special = false});
  const auto p = static_cast<int64_t>(prefix_ids.size());
  const auto s = static_cast<int64_t>(suffix_ids.size());

  const int64_t room = max_tokens - kSentinels - (options.document_start ? 1 : 0);
  require(room >= std::min<int64_t>(1, p + s),
          "infill: a prompt of at most {} tokens has no room for text beside its sentinels",
          max_tokens);
  // What one of them leaves of its half is the other's.
  const int64_t prefix_room = std::min(p, std::max(room - s, (room + 1) / 2));
  const Kept prefix = shorten(prefix_ids, Side::last, prefix_room, tokenizer);
  const Kept suffix = shorten(suffix_ids, Side::first, room - std::ssize(prefix.ids), tokenizer);

  InfillPrompt prompt{
      .tokens = {}, .dropped_prefix = p - prefix.tokens, .dropped_suffix = s - suffix.tokens};
  const auto add = [&](std::initializer_list<TokenId> sentinels, std::span<const TokenId> text) {
    prompt.tokens.insert(prompt.tokens.end(), sentinels);
    prompt.tokens.insert(prompt.tokens.end(), text.begin(), text.end());
  };
  if (options.document_start) add({ids.eod}, {});
  switch (options.mode) {
    case SegmentKind::psm:
      add({ids.pre}, prefix.ids), add({ids.suf}, suffix.ids), add({ids.mid}, {});
      break;
    case SegmentKind::spm1:
      add({ids.suf}, suffix.ids), add({ids.pre}, prefix.ids), add({ids.mid}, {});
      break;
    case SegmentKind::spm2:
      add({ids.pre, ids.suf}, suffix.ids), add({ids.mid}, prefix.ids);
      break;
    case SegmentKind::ar:
      fail("infill: mode ar has no middle");
  }
  return prompt;
}

SegmentKind infill_mode(std::string_view name) {
  for (SegmentKind mode : {SegmentKind::psm, SegmentKind::spm1, SegmentKind::spm2})
    if (name == name_of(mode)) return mode;
  fail("mode {}: expected psm, spm1 or spm2", name);
}

SegmentKind usual_mode(const FimConfig& fim) {
  if (fim.spm1 > fim.psm && fim.spm1 >= fim.spm2) return SegmentKind::spm1;
  return fim.spm2 > fim.psm ? SegmentKind::spm2 : SegmentKind::psm;
}

Hole split_at_mark(std::string_view text, std::string_view origin) {
  const size_t at = text.find(kMark);
  require(at != std::string_view::npos, "{}: no {} mark, expected one where the middle is missing",
          origin, kMark);
  const size_t again = text.find(kMark, at + kMark.size());
  if (again != std::string_view::npos)
    fail("{}: {} marks in lines {} and {}, expected one", origin, kMark, line_of(text, at),
         line_of(text, again));
  return {std::string(text.substr(0, at)), std::string(text.substr(at + kMark.size()))};
}

}  // namespace midfill
