#include "src/data/fim.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/check.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

using unicode::character_length;
using unicode::continues_character;
using unicode::kLongestCharacter;

// PRE, SUF, MID and the EOD.
constexpr int32_t kMarks = 4;
// What the two cuts cost in tokens on average (1.5 to 1.9, docs/fim.md): the first guess of how
// much to drop.
constexpr int32_t kUsualGrowth = 2;
// Attempts to use room left over by a first fit.
constexpr int kRefinements = 2;
constexpr int32_t kBlock = 64;  // tokens whose places are counted together

// What facts_ says of a token beside the number of places.
constexpr uint32_t kSpecial = 1u << 31;  // stands for no text
constexpr uint32_t kInside = 1u << 30;   // begins inside a character
constexpr uint32_t kPlaces = kInside - 1;

// The position of the first `wanted`, or the size. In blocks, so that it becomes vector code.
size_t find(std::span<const TokenId> tokens, TokenId wanted) {
  size_t at = 0;
  for (; at + kBlock <= tokens.size(); at += kBlock) {
    int found = 0;
    for (const TokenId id : tokens.subspan(at, kBlock)) found += id == wanted;
    if (found > 0) break;
  }
  while (at < tokens.size() && tokens[at] != wanted) ++at;
  return at;
}

// Where the character that `text` breaks off in begins; text.size() if it ends with a whole one.
size_t incomplete_tail(std::string_view text) {
  const size_t furthest = std::min<size_t>(text.size(), 3);
  for (size_t back = 1; back <= furthest; ++back) {
    const char byte = text[text.size() - back];
    if (continues_character(byte)) continue;
    return character_length(byte) > back ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace

// All that is random about a segment. Cuts are fractions, so that the same draws fit any length.
struct FimTransform::Draws {
  bool transform;
  SegmentKind kind;
  double first, second;  // [0, 1), first <= second
};

// A segment's text, as tokens.
struct FimTransform::Text {
  std::span<const TokenId> tokens;
  // Whether a document is known to begin with the first and to end with the last token. Elsewhere
  // the context has cut it, perhaps inside a piece.
  bool begins = false, ends = false;
  // Places to cut before token i * kBlock.
  std::vector<int32_t> places;

  int32_t size() const { return static_cast<int32_t>(tokens.size()); }
};

// A position in a text: byte `offset` of the bytes of token `token`, which has more; or the text's
// end.
struct FimTransform::Cut {
  int32_t token, offset = 0;
};

// Tokens of the text, between others.
struct FimTransform::Part {
  std::vector<TokenId> before, after;
  TokenRange kept;
  int32_t size() const { return static_cast<int32_t>(before.size() + after.size()) + kept.size(); }
};

struct FimTransform::Parts {
  Part prefix, middle, suffix;
  // Tokens at the ends that hold parts of characters.
  TokenRange head, tail;
  int32_t size() const {
    return head.size() + prefix.size() + middle.size() + suffix.size() + tail.size() + kMarks;
  }
  int32_t length = 0;  // tokens of the text that the parts spell
};

// What a thread reuses from sample to sample.
struct FimTransform::Workspace {
  Text text;
  Parts parts, longer;
};

FimTransform::FimTransform(const FimConfig& config, const Tokenizer& tokenizer)
    : config_(config), tokenizer_(tokenizer), ids_(tokenizer.sentinels()), boundaries_(tokenizer) {
  tokenizer.required_eod();
  require(ids_.pad >= 0 && ids_.suf >= 0 && ids_.pre >= 0 && ids_.mid >= 0,
          "the tokenizer lacks a FIM sentinel: <|SUF|> {}, <|PRE|> {}, <|MID|> {}, padding {}",
          ids_.suf, ids_.pre, ids_.mid, ids_.pad);
  const double total = config.psm + config.spm1 + config.spm2;
  require(config.rate >= 0 && config.rate <= 1, "fim.rate: found {}, expected 0 to 1", config.rate);
  require(
      config.psm >= 0 && config.spm1 >= 0 && config.spm2 >= 0 && (total > 0 || config.rate == 0),
      "fim.psm, fim.spm1, fim.spm2: found {}, {}, {}, expected weights of which one is above 0",
      config.psm, config.spm1, config.spm2);

  facts_.resize(static_cast<size_t>(tokenizer.vocab_size()));
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.bytes_of(id);
    const bool inside = !bytes.empty() && continues_character(bytes[0]);
    // Where a place is: before a character, behind the end of a line, before a token that begins
    // between characters.
    const auto places = config.unit == FimUnit::character
                            ? bytes.size() - std::ranges::count_if(bytes, continues_character)
                        : config.unit == FimUnit::line ? std::ranges::count(bytes, '\n')
                                                       : (inside || bytes.empty() ? 0 : 1);
    facts_[static_cast<size_t>(id)] = static_cast<uint32_t>(places) | (inside ? kInside : 0) |
                                      (tokenizer.is_special(id) ? kSpecial : 0);
  }
}

FimTransform::Draws FimTransform::draw(const FimKey& key, uint64_t segment) const {
  // Always the same draws in the same order: the cuts depend neither on the rate nor on the modes.
  Rng rng(key.seed, key.purpose, key.epoch, key.sample, segment);
  const bool transform = rng.uniform() < config_.rate;
  const double mode = rng.uniform() * (config_.psm + config_.spm1 + config_.spm2);
  const double a = rng.uniform(), b = rng.uniform();
  // Rounding can put `mode` on the total itself; it then falls to the last mode that has a weight.
  const SegmentKind kind = mode < config_.psm                  ? SegmentKind::psm
                           : mode < config_.psm + config_.spm1 ? SegmentKind::spm1
                           : config_.spm2 > 0                  ? SegmentKind::spm2
                           : config_.spm1 > 0                  ? SegmentKind::spm1
                                                               : SegmentKind::psm;
  return {transform, kind, std::min(a, b), std::max(a, b)};
}

int32_t FimTransform::places_in(TokenId token) const {
  return static_cast<int32_t>(facts_[static_cast<size_t>(token)] & kPlaces);
}

// Fills `places`; false where the tokens are more than text.
bool FimTransform::measure(Text& text) const {
  const int32_t n = text.size(), blocks = n / kBlock + 1;
  text.places.resize(static_cast<size_t>(blocks));
  uint32_t any = 0, sum = 0;
  for (int32_t block = 0; block < blocks; ++block) {
    text.places[block] = static_cast<int32_t>(sum);
    const int32_t end = std::min(n, (block + 1) * kBlock);
    for (int32_t i = block * kBlock; i < end; ++i) {
      const uint32_t facts = facts_[static_cast<size_t>(text.tokens[i])];
      any |= facts;
      sum += facts & kPlaces;
    }
  }
  return (any & kSpecial) == 0;
}

// Places to cut in tokens [0, token).
int32_t FimTransform::places_before(const Text& text, int32_t token) const {
  int32_t places = text.places[token / kBlock];
  for (int32_t i = token / kBlock * kBlock; i < token; ++i) places += places_in(text.tokens[i]);
  return places;
}

// The place with this number in the text.
FimTransform::Cut FimTransform::place(const Text& text, int32_t number) const {
  const auto block = std::ranges::upper_bound(text.places, number) - text.places.begin() - 1;
  auto token = static_cast<int32_t>(block) * kBlock;
  int32_t left = number - text.places[block];
  while (left >= places_in(text.tokens[token])) left -= places_in(text.tokens[token++]);
  if (config_.unit == FimUnit::token) return {token};
  const std::string_view bytes = tokenizer_.bytes_of(text.tokens[token]);
  int32_t offset = 0;
  if (config_.unit == FimUnit::character) {
    while (continues_character(bytes[offset]) || left-- > 0) ++offset;
    return {token, offset};
  }
  while (bytes[offset] != '\n' || left-- > 0) ++offset;
  return ++offset == static_cast<int32_t>(bytes.size()) ? Cut{token + 1} : Cut{token, offset};
}

// The end of the last token before which, in tokens [head, length), all characters are whole and
// which begins with one.
int32_t FimTransform::end_of_whole_characters(const Text& text, int32_t head,
                                              int32_t length) const {
  char last[kLongestCharacter];
  size_t n = 0;
  for (int32_t t = length; t > 0 && n < kLongestCharacter; --t) {
    const std::string_view bytes = tokenizer_.bytes_of(text.tokens[t - 1]);
    if (n == 0 && !bytes.empty() && static_cast<signed char>(bytes.back()) >= 0) return length;
    for (size_t b = bytes.size(); b > 0 && n < kLongestCharacter; --b)
      last[kLongestCharacter - ++n] = bytes[b - 1];
  }
  const size_t broken = n - incomplete_tail({last + kLongestCharacter - n, n});
  if (broken == 0) return length;
  int32_t tail = length;
  for (size_t behind = 0; tail > head && behind < broken; --tail)
    behind += tokenizer_.bytes_of(text.tokens[tail - 1]).size();
  while (tail > head && (facts_[static_cast<size_t>(text.tokens[tail])] & kInside)) --tail;
  return tail;
}

// Appends the ids of the text between two cuts; false where they do not spell it.
bool FimTransform::encode(const Text& text, Cut from, Cut to, std::vector<TokenId>& out) const {
  thread_local std::string bytes;
  bytes.clear();
  for (int32_t t = from.token; t < to.token; ++t) bytes += tokenizer_.bytes_of(text.tokens[t]);
  if (to.offset > 0)
    bytes += tokenizer_.bytes_of(text.tokens[to.token]).substr(0, static_cast<size_t>(to.offset));
  const std::string_view wanted = std::string_view(bytes).substr(static_cast<size_t>(from.offset));
  if (wanted.empty()) return true;
  size_t next = out.size(), at = 0;
  tokenizer_.encode_to(wanted, out, {.match_special = false});
  for (; next < out.size(); ++next) {
    const std::string_view spelt = tokenizer_.bytes_of(out[next]);
    if (wanted.substr(at, spelt.size()) != spelt) return false;
    at += spelt.size();
  }
  return at == wanted.size();
}

// The tokens that the text between two cuts has when it stands alone; false where they do not spell
// it. Between the first and the last sure boundary of pieces they are those of the text.
bool FimTransform::encode_part(const Text& text, Cut from, Cut to, Part& part) const {
  part.before.clear();
  part.after.clear();
  part.kept = {};
  const auto boundary = [&](int32_t token) {
    if (token == 0) return text.begins;
    if (token == text.size()) return text.ends;
    return boundaries_.at(text.tokens, static_cast<size_t>(token));
  };
  int32_t first = from.token + (from.offset > 0 ? 1 : 0), last = to.token;
  while (first <= last && !boundary(first)) ++first;
  if (first > last) return encode(text, from, to, part.before);
  while (!boundary(last)) --last;
  part.kept = {first, last};
  return encode(text, from, {first}, part.before) && encode(text, {last}, to, part.after);
}

// Splits the first `length` tokens of the text.
FimTransform::Split FimTransform::split(const Text& text, int32_t length, const Draws& draws,
                                        Parts& parts) const {
  // Tokens [head, tail) begin and end between characters; the others are kept as they are.
  int32_t head = 0;
  while (head < length && (facts_[static_cast<size_t>(text.tokens[head])] & kInside)) ++head;
  const int32_t tail = end_of_whole_characters(text, head, length);
  if (head >= tail) return Split::nothing_to_cut;

  // The choices are the beginning, every place strictly inside, and the end. The units differ in
  // whether the beginning or the end is among the places counted.
  const Cut begin{head}, end{tail};
  const int32_t before = places_before(text, head), counted = places_before(text, tail) - before;
  const bool counts_begin = config_.unit != FimUnit::line;
  const bool counts_end =
      config_.unit == FimUnit::line && tokenizer_.bytes_of(text.tokens[tail - 1]).ends_with('\n');
  const int32_t choices = counted - (counts_begin ? 1 : 0) - (counts_end ? 1 : 0) + 2;
  const auto position = [&](double fraction) {
    const auto choice = static_cast<int32_t>(fraction * choices);
    if (choice == 0) return begin;
    return choice >= choices - 1 ? end : place(text, before + choice - (counts_begin ? 0 : 1));
  };
  const Cut first = position(draws.first), second = position(draws.second);

  parts.length = length;
  parts.head = {0, head};
  parts.tail = {tail, length};
  if (config_.unit == FimUnit::token) {
    const auto keep = [](Part& part, Cut from, Cut to) {
      part.before.clear();
      part.after.clear();
      part.kept = {from.token, to.token};
    };
    keep(parts.prefix, begin, first);
    keep(parts.middle, first, second);
    keep(parts.suffix, second, end);
    return Split::done;
  }
  const bool reversible = encode_part(text, begin, first, parts.prefix) &&
                          encode_part(text, first, second, parts.middle) &&
                          encode_part(text, second, end, parts.suffix);
  return reversible ? Split::done : Split::irreversible;
}

// Splits as much of a segment's text as fits into `room` tokens with its sentinels and EOD.
FimTransform::Split FimTransform::fit(Text& text, int32_t room, const Draws& draws,
                                      Workspace& work) const {
  if (!measure(text)) return Split::irreversible;
  const int32_t n = text.size();
  Parts& parts = work.parts;
  int32_t length = n + kMarks <= room ? n : std::min(n, room - kMarks - kUsualGrowth);
  while (true) {
    if (length <= 0) return Split::nothing_to_cut;
    const Split result = split(text, length, draws, parts);
    if (result != Split::done) return result;
    if (parts.size() <= room) break;
    length -= parts.size() - room;
  }

  // Room left over while text was dropped: take back as many tokens, if that fits.
  for (int i = 0; i < kRefinements && parts.length < n && parts.size() < room; ++i) {
    length = std::min(n, parts.length + room - parts.size());
    if (split(text, length, draws, work.longer) != Split::done || work.longer.size() > room) break;
    std::swap(parts, work.longer);
  }
  return Split::done;
}

// `ends`: the last token is the EOD.
void FimTransform::append_plain(std::span<const TokenId> tokens, bool ends, Sample& sample) const {
  if (tokens.empty()) return;
  const auto begin = static_cast<int32_t>(sample.tokens.size());
  sample.tokens.insert(sample.tokens.end(), tokens.begin(), tokens.end());
  const auto end = static_cast<int32_t>(sample.tokens.size());
  const int32_t text_end = end - (ends ? 1 : 0);
  sample.segments.push_back({.kind = SegmentKind::ar,
                             .range = {begin, end},
                             .prefix = {begin, text_end},
                             .middle = {text_end, text_end},
                             .suffix = {text_end, text_end}});
}

void FimTransform::append_parts(const Text& text, const Parts& parts, SegmentKind kind,
                                Sample& sample) const {
  std::vector<TokenId>& out = sample.tokens;
  const auto here = [&out] { return static_cast<int32_t>(out.size()); };
  const auto keep = [&](TokenRange range) {
    out.insert(out.end(), text.tokens.begin() + range.begin, text.tokens.begin() + range.end);
  };
  const auto append = [&](const Part& part) {
    const int32_t begin = here();
    if (&part == &parts.prefix) keep(parts.head);
    out.insert(out.end(), part.before.begin(), part.before.end());
    keep(part.kept);
    out.insert(out.end(), part.after.begin(), part.after.end());
    if (&part == &parts.suffix) keep(parts.tail);
    return TokenRange{begin, here()};
  };
  Segment segment{.kind = kind, .range = {here(), 0}, .prefix = {}, .middle = {}, .suffix = {}};
  switch (kind) {
    case SegmentKind::psm:
      out.push_back(ids_.pre);
      segment.prefix = append(parts.prefix);
      out.push_back(ids_.suf);
      segment.suffix = append(parts.suffix);
      out.push_back(ids_.mid);
      break;
    case SegmentKind::spm1:
      out.push_back(ids_.suf);
      segment.suffix = append(parts.suffix);
      out.push_back(ids_.pre);
      segment.prefix = append(parts.prefix);
      out.push_back(ids_.mid);
      break;
    case SegmentKind::spm2:
      out.push_back(ids_.pre);
      out.push_back(ids_.suf);
      segment.suffix = append(parts.suffix);
      out.push_back(ids_.mid);
      segment.prefix = append(parts.prefix);
      break;
    case SegmentKind::ar:
      break;
  }
  segment.middle = append(parts.middle);
  out.push_back(ids_.eod);
  segment.range.end = here();
  sample.segments.push_back(segment);
}

void FimTransform::apply(std::span<const TokenId> tokens, const FimKey& key, Sample& sample,
                         int32_t enough) const {
  thread_local Workspace work;
  const auto size = static_cast<int32_t>(tokens.size());
  uint32_t largest = 0;  // one below 0 counts as large
  for (const TokenId id : tokens) largest = std::max(largest, static_cast<uint32_t>(id));
  if (largest >= facts_.size())
    static_cast<void>(tokenizer_.bytes_of(static_cast<TokenId>(largest)));
  sample.tokens.clear();
  sample.segments.clear();
  sample.dropped = sample.padded = sample.reverted = 0;

  int32_t begin = 0;
  const auto wants_more = [&] { return static_cast<int64_t>(sample.tokens.size()) < enough; };
  for (uint64_t index = 0; begin < size && wants_more(); ++index) {
    const auto rest = tokens.subspan(begin);
    Text& text = work.text;
    text.tokens = rest.first(find(rest, ids_.eod));
    text.begins = begin > 0;
    text.ends = text.tokens.size() < rest.size();
    const int32_t room = size - static_cast<int32_t>(sample.tokens.size());

    const Draws draws = draw(key, index);
    Split result = Split::nothing_to_cut;
    if (draws.transform && text.size() > 0) result = fit(text, room, draws, work);
    if (result == Split::irreversible) ++sample.reverted;

    const int32_t whole = text.size() + (text.ends ? 1 : 0);
    if (result == Split::done) {
      append_parts(text, work.parts, draws.kind, sample);
      sample.dropped = text.size() - work.parts.length;
    } else {
      // Where growth before it took its room, the sample ends inside this segment.
      const int32_t kept = std::min(whole, room);
      append_plain(rest.first(kept), text.ends && kept == whole, sample);
      sample.dropped = whole - kept;
    }
    begin += whole;
    if (sample.dropped > 0) break;
  }
  const auto done = static_cast<int32_t>(sample.tokens.size());
  const bool complete = begin >= size || sample.dropped > 0;
  if (complete) {
    sample.dropped += size - begin;
    sample.padded = size - done;
    sample.tokens.resize(size, ids_.pad);
  }

  // Padding is never trained on, neither ours nor what the data brings along. Where it shares the
  // EOD's id, only ours can be told apart.
  sample.weights.resize(sample.tokens.size());
  const TokenId ignored = ids_.pad == ids_.eod ? -1 : ids_.pad;
  std::ranges::transform(sample.tokens, sample.weights.begin(),
                         [ignored](TokenId id) { return id == ignored ? 0.0f : 1.0f; });
  std::fill(sample.weights.end() - sample.padded, sample.weights.end(), 0.0f);
}

}  // namespace midfill
