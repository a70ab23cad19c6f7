#include "src/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "kernels/common/check.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

namespace {

using unicode::Class;

constexpr std::array<Class, 128> make_ascii_classes() {
  std::array<Class, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool number = c >= '0' && c <= '9';
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    classes[c] = letter   ? Class::letter
                 : number ? Class::number
                 : space  ? Class::space
                          : Class::other;
  }
  return classes;
}

constexpr std::array<Class, 128> kAscii = make_ascii_classes();

// The class of the code point at text[at]; moves `at` past it.
Class next_class(std::string_view text, size_t& at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return ++at, kAscii[byte];
  return unicode::class_of(unicode::next(text, at));
}

// The end of the run of `wanted` that goes on at text[at].
size_t run_end(std::string_view text, size_t at, Class wanted) {
  while (at < text.size()) {
    size_t after = at;
    if (next_class(text, after) != wanted) break;
    at = after;
  }
  return at;
}

// The length of the contraction that begins with the apostrophe at text[at], or 0.
size_t contraction(std::string_view text, size_t at) {
  const auto letter = [&](size_t i) { return at + i < text.size() ? text[at + i] : '\0'; };
  const char a = letter(1), b = letter(2);
  if (a == 's' || a == 't') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e')) return 3;
  if (a == 'm') return 2;
  if (a == 'l' && b == 'l') return 3;
  return a == 'd' ? 2 : 0;
}

}  // namespace

size_t gpt2_piece_end(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    if (const size_t length = contraction(text, at)) return at + length;
  }
  const size_t begin = at;
  Class c = next_class(text, at);
  if (text[begin] == ' ' && at < text.size()) {
    size_t after = at;
    const Class following = next_class(text, after);
    if (following != Class::space) {  // " ?" takes the space
      c = following;
      at = after;
    }
  }
  const size_t end = run_end(text, at, c);
  if (c != Class::space || end == text.size()) return end;
  // White space before something else leaves its last character to what follows.
  const size_t last = unicode::previous(text, end);
  return last > begin ? last : end;
}

struct Pattern::Code {
  pcre2_code* code;
  std::string origin;

  Code(pcre2_code* compiled, std::string_view where) : code(compiled), origin(where) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
};

namespace {

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// Oniguruma's syntax -> PCRE2's: the same but for \s (PCRE2's has one character more). What the two
// read differently, or what no tokenizer needs, is refused.
std::string to_pcre2(std::string_view pattern, std::string_view origin) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    const auto refuse = [&](std::string_view what) {
      fail("{}: the pattern has \"{}\" at character {}, which is not understood", origin, what, i);
    };
    if (pattern[i] == '\\') {
      const char escaped = rest.size() > 1 ? rest[1] : '\0';
      if (escaped == 's' || escaped == 'S') {
        out += escaped == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      } else if (escaped != '\0' &&
                 (std::string_view("pPrntfdD").find(escaped) != std::string_view::npos ||
                  std::ispunct(static_cast<unsigned char>(escaped)))) {
        const bool property = (escaped == 'p' || escaped == 'P') && rest.substr(2).starts_with("{");
        const size_t length = property ? std::min(rest.find('}'), rest.size() - 1) + 1 : 2;
        out += rest.substr(0, length);
        i += length - 2;
      } else {
        refuse(rest.substr(0, 2));
      }
      ++i;
      continue;
    }
    if (in_class) {
      if (rest.starts_with("&&") || pattern[i] == '[') refuse(rest.substr(0, 2));
    } else {
      if (pattern[i] == '^' || pattern[i] == '$' || rest.starts_with("}+") ||
          rest.starts_with("{,"))
        refuse(rest.substr(0, 2));
      const bool plain_group = rest.starts_with("(?:") || rest.starts_with("(?i:") ||
                               rest.starts_with("(?=") || rest.starts_with("(?!") ||
                               rest.starts_with("(?<=") || rest.starts_with("(?<!");
      if (rest.starts_with("(*") || (rest.starts_with("(?") && !plain_group))
        refuse(rest.substr(0, 3));
    }
    if (pattern[i] == '[') in_class = true;
    if (pattern[i] == ']') in_class = false;
    out += pattern[i];
  }
  return out;
}

}  // namespace

Pattern Pattern::compile(std::string_view pattern, bool literal, std::string_view origin) {
  require(!pattern.empty(), "{}: the pattern is empty", origin);
  int error = 0;
  PCRE2_SIZE where = 0;
  const uint32_t options =
      literal ? PCRE2_LITERAL | PCRE2_UTF : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       options, &error, &where, nullptr);
  require(compiled != nullptr, "{}: the pattern cannot be compiled: {} at character {}", origin,
          pcre2_message(error), where);
  auto code = std::make_shared<const Code>(compiled, origin);
  uint32_t matches_empty = 0;
  pcre2_pattern_info(compiled, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  require(matches_empty == 0, "{}: the pattern matches the empty string", origin);
  // Without JIT on this machine the interpreter gives the same matches.
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  return Pattern(std::move(code));
}

Pattern Pattern::regex(std::string_view pattern, std::string_view origin) {
  return compile(to_pcre2(pattern, origin), false, origin);
}

Pattern Pattern::literal(std::string_view text, std::string_view origin) {
  return compile(text, true, origin);
}

void Pattern::split(std::string_view text,
                    const std::function<void(std::string_view)>& piece) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t done = 0;
  while (done < text.size()) {
    const auto run = [&](uint32_t options) {
      return pcre2_match(code_->code, subject, text.size(), done, PCRE2_NO_UTF_CHECK | options,
                         match.get(), nullptr);
    };
    int status = run(0);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) status = run(PCRE2_NO_JIT);
    if (status == PCRE2_ERROR_NOMATCH) break;
    require(status >= 0, "{}: the pattern fails on a text: {}", code_->origin,
            pcre2_message(status));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    if (range[0] > done) piece(text.substr(done, range[0] - done));
    piece(text.substr(range[0], range[1] - range[0]));
    done = range[1];
  }
  if (done < text.size()) piece(text.substr(done));
}

void PreTokenizer::split_from(size_t index, std::string_view text,
                              const std::function<void(std::string_view)>& piece) const {
  if (index == steps_.size()) return piece(text);
  const PreTokenizerStep& step = steps_[index];
  const auto cut = [&](std::string_view part) { split_from(index + 1, part, piece); };

  std::string prefixed;
  switch (step.kind) {
    case PreTokenizerStep::Kind::pattern:
      step.pattern.at(0).split(text, cut);
      return;
    case PreTokenizerStep::Kind::digits:
      for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        const bool number = unicode::is_numeric(unicode::next(text, at));
        while (at < text.size() && !(number && step.individual_digits)) {
          size_t after = at;
          if (unicode::is_numeric(unicode::next(text, after)) != number) break;
          at = after;
        }
        cut(text.substr(begin, at - begin));
      }
      return;
    case PreTokenizerStep::Kind::byte_level:
      if (step.add_prefix_space && text[0] != ' ') {
        prefixed = fmt::format(" {}", text);
        text = prefixed;
      }
      if (!step.use_regex) return cut(text);
      for (size_t at = 0; at < text.size();) {
        const size_t end = gpt2_piece_end(text, at);
        cut(text.substr(at, end - at));
        at = end;
      }
      return;
  }
}

}  // namespace midfill
