#include "src/data/show.h"

#include <array>
#include <span>

#include "kernels/common/check.h"
#include "src/io/json.h"

namespace midfill {

namespace {

enum class Role : uint8_t { plain, prefix, middle, suffix, mark };

std::string_view escape_of(Role role) {
  switch (role) {
    case Role::plain:
      return "";
    case Role::prefix:
      return "\x1b[34m";  // blue
    case Role::middle:
      return "\x1b[32m";  // green
    case Role::suffix:
      return "\x1b[33m";  // yellow
    case Role::mark:
      return "\x1b[1;35m";  // bold magenta
  }
  return "";
}

std::span<const TokenId> tokens_of(const Sample& sample, TokenRange range) {
  return std::span(sample.tokens).subspan(range.begin, range.size());
}

std::vector<Role> roles_of(const Sample& sample, const Tokenizer& tokenizer) {
  std::vector<Role> roles(sample.tokens.size(), Role::plain);
  const auto paint = [&](TokenRange range, Role role) {
    for (int32_t i = range.begin; i < range.end; ++i) roles[i] = role;
  };
  for (const Segment& segment : sample.segments) {
    if (segment.kind == SegmentKind::ar && segment.middle.size() == 0) continue;
    paint(segment.prefix, Role::prefix);
    paint(segment.middle, Role::middle);
    paint(segment.suffix, Role::suffix);
  }
  for (size_t i = 0; i < roles.size(); ++i)
    if (tokenizer.is_special(sample.tokens[i])) roles[i] = Role::mark;
  return roles;
}

}  // namespace

std::string sample_json(const Sample& sample, const Tokenizer& tokenizer, std::string_view source) {
  Json segments = Json::array();
  for (const Segment& segment : sample.segments)
    segments.push_back({{"kind", name_of(segment.kind)},
                        {"begin", segment.range.begin},
                        {"end", segment.range.end},
                        {"prefix", tokenizer.decode(tokens_of(sample, segment.prefix))},
                        {"middle", tokenizer.decode(tokens_of(sample, segment.middle))},
                        {"suffix", tokenizer.decode(tokens_of(sample, segment.suffix))}});
  Json line = {{"index", sample.index}};
  if (!source.empty()) line["source"] = source;
  line["tokens"] = sample.tokens;
  line["segments"] = std::move(segments);
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string sample_text(const Sample& sample, const Tokenizer& tokenizer, bool color,
                        std::string_view source) {
  std::array<int, kSegmentKinds> kinds{};
  for (const Segment& segment : sample.segments) ++kinds[static_cast<size_t>(segment.kind)];
  std::string text = fmt::format(
      "--- sample {}{}: {} tokens, segments: {} ar, {} psm, {} spm1, {} spm2; {} dropped, "
      "{} padded\n",
      sample.index, source.empty() ? "" : fmt::format(" ({})", source), sample.tokens.size(),
      kinds[0], kinds[1], kinds[2], kinds[3], sample.dropped, sample.padded);
  const std::vector<Role> roles = roles_of(sample, tokenizer);
  Role current = Role::plain;
  const auto change_to = [&](Role role) {
    if (!color || role == current) return;
    if (current != Role::plain) text += "\x1b[0m";
    text += escape_of(role);
    current = role;
  };
  for (size_t i = 0; i < roles.size(); ++i) {
    change_to(roles[i]);
    text += tokenizer.bytes_of(sample.tokens[i]);
  }
  change_to(Role::plain);
  if (text.back() != '\n') text += '\n';
  return text;
}

}  // namespace midfill
