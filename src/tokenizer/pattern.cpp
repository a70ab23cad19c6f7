#include "src/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <string>

#include "kernels/common/check.h"
#include "src/tokenizer/pattern_syntax.h"
#include "src/tokenizer/tokenizer.h"
#include "src/tokenizer/unicode.h"

namespace midfill {

struct Pattern::Code {
  pcre2_code* code;
  std::string origin;

  Code(pcre2_code* compiled, std::string_view where) : code(compiled), origin(where) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
};

namespace {

// A pattern that goes back and forth over a text in one match needs memory and steps in proportion
// to it. Memory is taken as it is needed; more steps than these are no longer in proportion.
constexpr size_t kJitStackBytes = size_t{32} << 10, kMaxJitStackBytes = size_t{1} << 30;
constexpr uint32_t kHeapKibibytes = uint32_t{4} << 20;
constexpr uint64_t kLeastSteps = 10'000'000, kStepsPerByte = 32;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// What a thread keeps for its matches.
class Matcher {
 public:
  static Matcher& of_thread() {
    thread_local Matcher matcher;
    return matcher;
  }
  ~Matcher() {
    pcre2_match_data_free(data_);
    pcre2_match_context_free(context_);
    if (stack_) pcre2_jit_stack_free(stack_);
  }
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  void limit(size_t text_bytes) {
    const uint64_t steps = std::max(kLeastSteps, kStepsPerByte * text_bytes);
    pcre2_set_match_limit(context_, static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
  }
  // The status of pcre2_match from text[begin] on.
  int run(const pcre2_code* code, std::string_view text, size_t begin) {
    const auto match = [&](uint32_t options) {
      return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), begin,
                         PCRE2_NO_UTF_CHECK | options, data_, context_);
    };
    int status = match(0);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT && !stack_) {
      // Address space; pages come as they are touched.
      stack_ = pcre2_jit_stack_create(kJitStackBytes, kMaxJitStackBytes, nullptr);
      if (stack_) pcre2_jit_stack_assign(context_, nullptr, stack_);
      status = match(0);
    }
    return status == PCRE2_ERROR_JIT_STACKLIMIT ? match(PCRE2_NO_JIT) : status;
  }
  const PCRE2_SIZE* range() const { return pcre2_get_ovector_pointer(data_); }

 private:
  Matcher()
      : data_(pcre2_match_data_create(1, nullptr)), context_(pcre2_match_context_create(nullptr)) {
    require(data_ && context_, "out of memory");
    pcre2_set_heap_limit(context_, kHeapKibibytes);
  }

  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_ = nullptr;
};

}  // namespace

Pattern Pattern::compile(std::string_view pattern, bool literal, std::string_view origin) {
  require(!pattern.empty(), "{}: the pattern is empty", origin);
  int error = 0;
  PCRE2_SIZE where = 0;
  const uint32_t options =
      literal ? PCRE2_LITERAL | PCRE2_UTF : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       options, &error, &where, nullptr);
  require(compiled != nullptr, "{}: the pattern cannot be compiled: {} at byte {} of {}", origin,
          pcre2_message(error), where, pattern);
  auto code = std::make_shared<const Code>(compiled, origin);
  uint32_t matches_empty = 0;
  pcre2_pattern_info(compiled, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  require(matches_empty == 0, "{}: the pattern matches the empty string", origin);
  // Without JIT on this machine the interpreter gives the same matches.
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  return Pattern(std::move(code));
}

Pattern Pattern::regex(std::string_view pattern, std::string_view origin) {
  return compile(oniguruma_to_pcre2(pattern, origin), false, origin);
}

Pattern Pattern::literal(std::string_view text, std::string_view origin) {
  return compile(text, true, origin);
}

void Pattern::split(std::string_view text, const Part& part) const {
  Matcher& matcher = Matcher::of_thread();
  matcher.limit(text.size());
  size_t done = 0;
  while (done < text.size()) {
    const int status = matcher.run(code_->code, text, done);
    if (status == PCRE2_ERROR_NOMATCH) break;
    if (status < 0)
      throw TextError(fmt::format("{}: the pattern fails on this text, from byte {} of {} on: {}",
                                  code_->origin, done, text.size(), pcre2_message(status)));
    const size_t begin = matcher.range()[0], end = matcher.range()[1];
    if (begin > done) part(text.substr(done, begin - done), false);
    part(text.substr(begin, end - begin), true);
    done = end;
  }
  if (done < text.size()) part(text.substr(done), false);
}

char32_t Pattern::unmatched_character() const {
  std::string character;
  for (char32_t c = 1; c < 0x3000; ++c) {
    character.clear();
    unicode::append_utf8(character, c);
    bool all = true;
    split(character, [&](std::string_view, bool is_match) { all &= is_match; });
    if (!all) return c;
  }
  return U'\0';
}

}  // namespace midfill
