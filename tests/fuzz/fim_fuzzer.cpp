// The FIM transform of arbitrary tokens, held to its contract (src/data/fim.h): what comes out is
// as long as what goes in, its parts are complete and spell the text byte for byte, and where the
// segment is what encode gives for its text, so is every part.
//
// First byte: unit, tokenizer, how tokens are made (text that is encoded, or ids); then rate, mode
// weights, key.
#include <algorithm>
#include <array>

#include "src/data/fim.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/small_tokenizer.h"

namespace {

using namespace midfill;

using Ids = std::vector<TokenId>;

// Text up to each NUL byte is a document; `cut` tokens at the front are left out, as a context does
// that begins inside a document.
Ids tokens_of_text(const Tokenizer& tokenizer, fuzz::Input& input, size_t cut) {
  Ids tokens;
  while (!input.empty()) {
    tokenizer.encode_to(input.until('\0'), tokens, {.match_special = false});
    if (!input.empty()) tokens.push_back(tokenizer.sentinels().eod);
  }
  tokens.erase(tokens.begin(),
               tokens.begin() + static_cast<std::ptrdiff_t>(std::min(cut, tokens.size())));
  return tokens;
}

Ids tokens_of_bytes(fuzz::Input& input) {
  Ids tokens;
  while (!input.empty()) tokens.push_back(static_cast<TokenId>(input.number(2) & 0x1FF));
  return tokens;
}

// Checks one segment of the output against the text of the input's, of which it has the first
// `kept` tokens.
class SegmentCheck {
 public:
  SegmentCheck(const Tokenizer& tokenizer, FimUnit unit, const Sample& sample,
               const Segment& segment, std::span<const TokenId> text)
      : tokenizer_(tokenizer), unit_(unit), sample_(sample), segment_(segment), text_(text) {}

  void run(size_t kept) const {
    check_layout();
    const std::span<const TokenId> source = text_.first(kept);
    fuzz::expect(decode(segment_.prefix) + decode(segment_.middle) + decode(segment_.suffix) ==
                     tokenizer_.decode(source),
                 "the parts do not spell the segment");
    if (segment_.kind == SegmentKind::ar) {
      fuzz::expect(std::ranges::equal(part(segment_.prefix), source), "plain tokens have changed");
    } else if (unit_ == FimUnit::token) {
      check_tokens_kept(source);
    } else if (kept == text_.size() && is_canonical(tokenizer_.decode(source), source)) {
      for (const TokenRange range : {segment_.prefix, segment_.middle, segment_.suffix})
        fuzz::expect(is_canonical(decode(range), part(range)),
                     "a part has ids {}, other than its text encodes to",
                     fuzz::ids_text(Ids(part(range).begin(), part(range).end())));
    }
  }

 private:
  std::span<const TokenId> part(TokenRange range) const {
    return std::span(sample_.tokens)
        .subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
  }
  std::string decode(TokenRange range) const { return tokenizer_.decode(part(range)); }
  bool is_canonical(std::string_view text, std::span<const TokenId> ids) const {
    return std::ranges::equal(tokenizer_.encode(text, {.match_special = false}), ids);
  }

  // The sentinels of a mode stand where the format has them, around the three parts.
  void check_layout() const {
    const Sentinels& s = tokenizer_.sentinels();
    const Segment& g = segment_;
    Ids expected;
    const auto append = [&](TokenRange range) {
      fuzz::expect(range.begin >= g.range.begin && range.end <= g.range.end && range.size() >= 0,
                   "a part is outside of its segment");
      const auto ids = part(range);
      expected.insert(expected.end(), ids.begin(), ids.end());
    };
    switch (g.kind) {
      case SegmentKind::ar:
        append(g.prefix);
        if (g.range.end > g.prefix.end) expected.push_back(s.eod);
        break;
      case SegmentKind::psm:
        expected.push_back(s.pre), append(g.prefix), expected.push_back(s.suf), append(g.suffix);
        expected.push_back(s.mid), append(g.middle), expected.push_back(s.eod);
        break;
      case SegmentKind::spm1:
        expected.push_back(s.suf), append(g.suffix), expected.push_back(s.pre), append(g.prefix);
        expected.push_back(s.mid), append(g.middle), expected.push_back(s.eod);
        break;
      case SegmentKind::spm2:
        expected.push_back(s.pre), expected.push_back(s.suf), append(g.suffix);
        expected.push_back(s.mid), append(g.prefix), append(g.middle), expected.push_back(s.eod);
        break;
    }
    fuzz::expect(std::ranges::equal(part(g.range), expected), "a segment is not laid out as {}",
                 name_of(g.kind));
  }

  // Unit `token`: the parts are the source's tokens.
  void check_tokens_kept(std::span<const TokenId> source) const {
    Ids tokens;
    for (const TokenRange range : {segment_.prefix, segment_.middle, segment_.suffix}) {
      const auto ids = part(range);
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    }
    fuzz::expect(std::ranges::equal(tokens, source), "the unit `token` has changed tokens");
  }

  const Tokenizer& tokenizer_;
  FimUnit unit_;
  const Sample& sample_;
  const Segment& segment_;
  std::span<const TokenId> text_;
};

void check_padding(const Sample& sample, const Sentinels& sentinels) {
  const size_t size = sample.tokens.size();
  fuzz::expect(sample.weights.size() == size, "{} weights for {} tokens", sample.weights.size(),
               size);
  fuzz::expect(sample.padded >= 0 && sample.dropped >= 0 && sample.reverted >= 0,
               "padded {}, dropped {}, reverted {}", sample.padded, sample.dropped,
               sample.reverted);
  for (size_t i = 0; i < size; ++i) {
    const bool behind = i + static_cast<size_t>(sample.padded) >= size;
    fuzz::expect(!behind || sample.tokens[i] == sentinels.pad, "token {} is no padding", i);
    fuzz::expect(sample.weights[i] == (sample.tokens[i] == sentinels.pad ? 0.0f : 1.0f),
                 "token {} has weight {}", i, sample.weights[i]);
  }
}

void check(std::span<const TokenId> tokens, const Sample& sample, FimUnit unit,
           const Tokenizer& tokenizer) {
  fuzz::expect(sample.tokens.size() == tokens.size(), "{} tokens become {}", tokens.size(),
               sample.tokens.size());
  check_padding(sample, tokenizer.sentinels());
  size_t behind = 0;    // of the input
  int32_t written = 0;  // of the output
  for (const Segment& segment : sample.segments) {
    fuzz::expect(segment.range.begin == written, "a segment begins at {}, expected {}",
                 segment.range.begin, written);
    written = segment.range.end;
    const auto rest = tokens.subspan(behind);
    const auto eod = std::ranges::find(rest, tokenizer.sentinels().eod);
    const auto text = rest.first(static_cast<size_t>(eod - rest.begin()));
    const bool last = &segment == &sample.segments.back();
    // What the last segment lacks is all that was dropped, but for the segments behind it.
    const size_t whole = text.size() + (eod == rest.end() ? 0 : 1);
    size_t kept = text.size();
    if (last) {
      const size_t unseen = rest.size() - whole;
      fuzz::expect(static_cast<size_t>(sample.dropped) >= unseen, "{} dropped, but {} are missing",
                   sample.dropped, unseen);
      const size_t lost = static_cast<size_t>(sample.dropped) - unseen;
      // A plain segment may lose its EOD alone.
      const bool plain = segment.kind == SegmentKind::ar;
      const size_t from = plain ? whole : text.size();
      fuzz::expect(lost <= from, "{} tokens dropped of a segment of {}", lost, from);
      kept = std::min(text.size(), from - lost);
    }
    SegmentCheck(tokenizer, unit, sample, segment, text).run(kept);
    behind += whole;
  }
  fuzz::expect(written + sample.padded == static_cast<int32_t>(tokens.size()),
               "segments end at {}, padding begins at {}", written,
               static_cast<int32_t>(tokens.size()) - sample.padded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array<Tokenizer, 2> kTokenizers{
      Tokenizer::from_json(fuzz::small_tokenizer_json(false), "without runs"),
      Tokenizer::from_json(fuzz::small_tokenizer_json(true), "with runs")};
  constexpr std::array<FimUnit, 3> kUnits{FimUnit::character, FimUnit::token, FimUnit::line};
  fuzz::Input input(data, size);
  const uint8_t choice = input.byte();
  const Tokenizer& tokenizer = kTokenizers[choice & 1];
  FimConfig config;
  config.unit = kUnits[(choice >> 1) % kUnits.size()];
  config.rate = input.byte() / 255.0;
  const uint8_t modes = input.byte();
  config.psm = modes & 3, config.spm1 = modes >> 2 & 3, config.spm2 = modes >> 4 & 3;
  const FimKey key{.seed = input.number(2), .purpose = Purpose::kFim, .epoch = 0, .sample = 0};
  const size_t cut = input.byte() & 15;
  const Ids tokens = choice & 64 ? tokens_of_bytes(input) : tokens_of_text(tokenizer, input, cut);

  const bool known = std::ranges::all_of(
      tokens, [&](TokenId id) { return id >= 0 && id < tokenizer.vocab_size(); });
  Sample sample;
  const bool applied = fuzz::works([&] {
    const FimTransform transform(config, tokenizer);
    transform.apply(tokens, key, sample);
    check(tokens, sample, config.unit, tokenizer);
    const Sample first = sample;
    transform.apply(tokens, key, sample);
    fuzz::expect(sample == first, "the second time another sample comes out");
  });
  const bool has_mode = config.rate == 0 || config.psm + config.spm1 + config.spm2 > 0;
  if (known && has_mode) fuzz::expect(applied, "tokens of the tokenizer are refused");
  return 0;
}
