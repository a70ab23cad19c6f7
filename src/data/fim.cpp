#include "src/data/fim.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/check.h"

namespace midfill {

namespace {

// PRE, SUF, MID and the EOD.
constexpr int32_t kMarks = 4;
// What the two cuts cost in tokens on average (1.5 to 1.9, docs/fim.md): the first guess of how
// much to drop.
constexpr int32_t kUsualGrowth = 2;
// Attempts to use room left over by a first fit.
constexpr int kRefinements = 2;

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Where the character that `text` breaks off in begins; text.size() if it ends with a whole one.
size_t incomplete_tail(std::string_view text) {
  const size_t furthest = std::min<size_t>(text.size(), 3);
  for (size_t back = 1; back <= furthest; ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
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

// A segment's text, where its tokens begin in it, and where it may be cut.
struct FimTransform::Text {
  std::string bytes;
  std::vector<int32_t> token_begin;  // one more than tokens
  std::vector<int32_t> cuts;         // byte positions, ascending
};

struct FimTransform::Parts {
  std::vector<TokenId> prefix, middle, suffix;
  int32_t size() const {
    return static_cast<int32_t>(prefix.size() + middle.size() + suffix.size()) + kMarks;
  }
  int32_t kept = 0;  // tokens of the segment that the parts spell
};

FimTransform::FimTransform(const FimConfig& config, const Tokenizer& tokenizer)
    : config_(config), tokenizer_(tokenizer), ids_(tokenizer.sentinels()) {
  require(ids_.eod >= 0, "the tokenizer has no <|endoftext|>, which ends documents");
  require(ids_.pad >= 0 && ids_.suf >= 0 && ids_.pre >= 0 && ids_.mid >= 0,
          "the tokenizer lacks a FIM sentinel: <|SUF|> {}, <|PRE|> {}, <|MID|> {}, padding {}",
          ids_.suf, ids_.pre, ids_.mid, ids_.pad);
  const double total = config.psm + config.spm1 + config.spm2;
  require(config.rate >= 0 && config.rate <= 1, "fim.rate: found {}, expected 0 to 1", config.rate);
  require(
      config.psm >= 0 && config.spm1 >= 0 && config.spm2 >= 0 && (total > 0 || config.rate == 0),
      "fim.psm, fim.spm1, fim.spm2: found {}, {}, {}, expected weights of which one is above 0",
      config.psm, config.spm1, config.spm2);
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

// False where the tokens are more than text.
bool FimTransform::decode(std::span<const TokenId> tokens, Text& text) const {
  text.bytes.clear();
  text.token_begin.clear();
  for (const TokenId id : tokens) {
    text.token_begin.push_back(static_cast<int32_t>(text.bytes.size()));
    text.bytes += tokenizer_.bytes_of(id);
    if (tokenizer_.is_special(id)) return false;
  }
  text.token_begin.push_back(static_cast<int32_t>(text.bytes.size()));

  text.cuts.clear();
  const auto size = static_cast<int32_t>(text.bytes.size());
  switch (config_.unit) {
    case FimUnit::character:
      for (int32_t i = 0; i < size; ++i)
        if (!continues_character(text.bytes[i])) text.cuts.push_back(i);
      break;
    case FimUnit::line:
      for (int32_t i = 1; i < size; ++i)
        if (text.bytes[i - 1] == '\n') text.cuts.push_back(i);
      break;
    case FimUnit::token:  // where it is between characters, so that every part is a string
      for (size_t i = 0; i < tokens.size(); ++i)
        if (!continues_character(text.bytes[text.token_begin[i]]))
          text.cuts.push_back(text.token_begin[i]);
      break;
  }
  return true;
}

// Encodes; false where the tokens do not spell exactly `text`.
bool FimTransform::encode_part(std::string_view text, std::vector<TokenId>& out) const {
  out.clear();
  tokenizer_.encode_to(text, out, {.match_special = false});
  size_t at = 0;
  for (const TokenId id : out) {
    const std::string_view bytes = tokenizer_.bytes_of(id);
    if (text.substr(at, bytes.size()) != bytes) return false;
    at += bytes.size();
  }
  return at == text.size();
}

// Splits the first `tokens.size()` tokens of the segment.
FimTransform::Split FimTransform::split(const Text& text, std::span<const TokenId> tokens,
                                        const Draws& draws, Parts& parts) const {
  const std::vector<int32_t>& begin = text.token_begin;
  const auto n = static_cast<int32_t>(tokens.size());
  const std::string_view bytes(text.bytes.data(), begin[n]);

  // Tokens [head, tail) begin and end between characters; the others are kept as they are.
  int32_t head = 0, tail = n;
  while (head < n && continues_character(bytes[begin[head]])) ++head;
  const size_t complete = incomplete_tail(bytes);
  if (complete < bytes.size()) {
    while (tail > head && begin[tail] > static_cast<int32_t>(complete)) --tail;
    while (tail > head && continues_character(bytes[begin[tail]])) --tail;
  }
  const int32_t lo = begin[head], hi = begin[tail];
  if (lo >= hi) return Split::nothing_to_cut;

  // The choices are lo, every cut strictly inside, and hi.
  const auto inside = std::upper_bound(text.cuts.begin(), text.cuts.end(), lo);
  const auto last = std::lower_bound(inside, text.cuts.end(), hi);
  const int64_t choices = (last - inside) + 2;
  const auto position = [&](double fraction) {
    const auto choice = static_cast<int64_t>(fraction * static_cast<double>(choices));
    return choice == 0 ? lo : choice >= choices - 1 ? hi : inside[choice - 1];
  };
  const int32_t first = position(draws.first), second = position(draws.second);

  if (config_.unit == FimUnit::token) {
    const auto token_at = [&](int32_t byte) {
      return std::lower_bound(begin.begin() + head, begin.begin() + tail, byte) - begin.begin();
    };
    const auto a = tokens.begin() + token_at(first), b = tokens.begin() + token_at(second);
    parts.prefix.assign(tokens.begin(), a);
    parts.middle.assign(a, b);
    parts.suffix.assign(b, tokens.end());
  } else {
    if (!encode_part(bytes.substr(lo, first - lo), parts.prefix) ||
        !encode_part(bytes.substr(first, second - first), parts.middle) ||
        !encode_part(bytes.substr(second, hi - second), parts.suffix))
      return Split::irreversible;
    parts.prefix.insert(parts.prefix.begin(), tokens.begin(), tokens.begin() + head);
    parts.suffix.insert(parts.suffix.end(), tokens.begin() + tail, tokens.end());
  }
  parts.kept = n;
  return Split::done;
}

// Splits as much of a segment's text as fits into `room` tokens with its sentinels and EOD.
FimTransform::Split FimTransform::fit(std::span<const TokenId> tokens, int32_t room,
                                      const Draws& draws, Parts& parts) const {
  thread_local Text text;
  if (!decode(tokens, text)) return Split::irreversible;
  const auto n = static_cast<int32_t>(tokens.size());

  int32_t length = n + kMarks <= room ? n : std::min(n, room - kMarks - kUsualGrowth);
  while (true) {
    if (length <= 0) return Split::nothing_to_cut;
    const Split result = split(text, tokens.first(length), draws, parts);
    if (result != Split::done) return result;
    if (parts.size() <= room) break;
    length -= parts.size() - room;
  }

  // Room left over while text was dropped: take back as many tokens, if that fits.
  thread_local Parts longer;
  for (int i = 0; i < kRefinements && parts.kept < n && parts.size() < room; ++i) {
    length = std::min(n, parts.kept + room - parts.size());
    if (split(text, tokens.first(length), draws, longer) != Split::done || longer.size() > room)
      break;
    std::swap(parts, longer);
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

void FimTransform::append_parts(const Parts& parts, SegmentKind kind, Sample& sample) const {
  std::vector<TokenId>& out = sample.tokens;
  const auto here = [&out] { return static_cast<int32_t>(out.size()); };
  const auto append = [&](const std::vector<TokenId>& part) {
    const int32_t begin = here();
    out.insert(out.end(), part.begin(), part.end());
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

void FimTransform::apply(std::span<const TokenId> tokens, const FimKey& key, Sample& sample) const {
  thread_local Parts parts;
  const auto size = static_cast<int32_t>(tokens.size());
  sample.tokens.clear();
  sample.segments.clear();
  sample.dropped = sample.padded = sample.reverted = 0;

  int32_t begin = 0;
  for (uint64_t index = 0; begin < size; ++index) {
    const auto rest = tokens.subspan(begin);
    const auto eod = std::find(rest.begin(), rest.end(), ids_.eod);
    const bool ends = eod != rest.end();
    const auto text = rest.first(eod - rest.begin());
    const int32_t room = size - static_cast<int32_t>(sample.tokens.size());

    const Draws draws = draw(key, index);
    Split result = Split::nothing_to_cut;
    if (draws.transform && !text.empty()) result = fit(text, room, draws, parts);
    if (result == Split::irreversible) ++sample.reverted;

    const int32_t whole = static_cast<int32_t>(text.size()) + (ends ? 1 : 0);
    if (result == Split::done) {
      append_parts(parts, draws.kind, sample);
      sample.dropped = static_cast<int32_t>(text.size()) - parts.kept;
    } else {
      // Where growth before it took its room, the sample ends inside this segment.
      const int32_t kept = std::min(whole, room);
      append_plain(rest.first(kept), ends && kept == whole, sample);
      sample.dropped = whole - kept;
    }
    begin += whole;
    if (sample.dropped > 0) break;
  }
  sample.dropped += size - begin;
  sample.padded = size - static_cast<int32_t>(sample.tokens.size());
  sample.tokens.resize(size, ids_.pad);

  // Padding is never trained on, neither ours nor what the data brings along. Where it shares the
  // EOD's id, only ours can be told apart.
  sample.weights.assign(size, 1.0f);
  std::fill(sample.weights.end() - sample.padded, sample.weights.end(), 0.0f);
  if (ids_.pad != ids_.eod)
    for (int32_t i = 0; i < size; ++i)
      if (sample.tokens[i] == ids_.pad) sample.weights[i] = 0.0f;
}

}  // namespace midfill
