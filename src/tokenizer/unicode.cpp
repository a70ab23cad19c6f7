#include "src/tokenizer/unicode.h"

#include <simdjson.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/common/check.h"
#include "src/tokenizer/byte_block.h"

namespace midfill::unicode {

namespace {

constexpr char32_t kEnd = 0x110000;
// Bits of a table entry, above the two of Class.
constexpr uint8_t kNfcUnsafe = 4;  // may change, or change what stands before it, under NFC
constexpr uint8_t kWord = 8;
constexpr uint8_t kNumeric = 16;
constexpr uint8_t kNfkcUnsafe = 32;  // the same under NFKC
constexpr uint8_t kPunctuation = 64;

struct Range {
  char32_t first, last;
};

// Letters and numbers that are newer than the reference's Unicode 14: "other" there, so also here,
// whichever version the library has (15.0: Debian 12; 15.1: Ubuntu 24.04).
constexpr Range kNewerThanReference[] = {
    {0x1123F, 0x11240}, {0x11F02, 0x11F02}, {0x11F04, 0x11F10}, {0x11F12, 0x11F33},
    {0x11F50, 0x11F59}, {0x1342F, 0x1342F}, {0x13441, 0x13446}, {0x1B132, 0x1B132},
    {0x1B155, 0x1B155}, {0x1D2C0, 0x1D2D3}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D},
    {0x1E4D0, 0x1E4EB}, {0x1E4F0, 0x1E4F9}, {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D},
    {0x31350, 0x323AF},
};

// Marks that the reference's older normaliser takes for base characters (combining class 0), and a
// composite that it does not know.
constexpr Range kMarksNewerThanReference[] = {
    {0x07FD, 0x07FD},   {0x0898, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
    {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
};
constexpr char32_t kCompositeNewerThanReference = 0x11938;

// Characters that stand for others, which it does not know either.
constexpr Range kCompatibilityNewerThanReference[] = {
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},
    {0x10781, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA},
    {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

constexpr Range kWhiteSpace[] = {
    {0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
};

// Alphabetic symbols (enclosed letters) and the two joiners: words without being letters or marks.
constexpr Range kOtherWord[] = {
    {0x200C, 0x200D}, {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189},
};

bool is_in(std::span<const Range> ranges, char32_t c) {
  return std::ranges::any_of(ranges, [c](Range r) { return c >= r.first && c <= r.last; });
}

uint8_t category_bits(utf8proc_category_t category) {
  const auto bits = [](Class c, uint8_t more = 0) {
    return static_cast<uint8_t>(static_cast<uint8_t>(c) | more);
  };
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return bits(Class::letter, kWord);
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return bits(Class::number, kWord | kNumeric);
    case UTF8PROC_CATEGORY_NO:
      return bits(Class::number, kNumeric);
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return bits(Class::other, kWord);
    case UTF8PROC_CATEGORY_PC:
      return bits(Class::other, kWord | kPunctuation);
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return bits(Class::other, kPunctuation);
    default:
      return bits(Class::other);
  }
}

void set_class(uint8_t& entry, Class c) {
  entry = static_cast<uint8_t>((entry & ~3) | static_cast<uint8_t>(c));
}

using CodePoints = std::vector<utf8proc_int32_t>;

// Appends the full decomposition of c.
void decompose(char32_t c, Form form, CodePoints& out) {
  std::array<utf8proc_int32_t, 32> buffer;
  int boundary = 0;
  const bool compatible = form == Form::nfkc && !is_in(kCompatibilityNewerThanReference, c);
  const int options = UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
  const auto n =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer.data(), buffer.size(),
                              static_cast<utf8proc_option_t>(options), &boundary);
  require(n >= 0 && n <= static_cast<utf8proc_ssize_t>(buffer.size()),
          "utf8proc cannot decompose U+{:04X}", static_cast<uint32_t>(c));
  out.insert(out.end(), buffer.begin(), buffer.begin() + n);
}

int combining_class(utf8proc_int32_t c) {
  const int library = utf8proc_get_property(c)->combining_class;
  if (library == 0) return 0;
  return is_in(kMarksNewerThanReference, static_cast<char32_t>(c)) ? 0 : library;
}

// Decomposed code points in any order of marks -> NFC. The library's own ordering is quadratic in a
// run of marks, so the runs are sorted here.
void compose(CodePoints& points) {
  for (auto run = points.begin(); run != points.end();) {
    const auto is_mark = [](utf8proc_int32_t c) { return combining_class(c) != 0; };
    const auto begin = std::find_if(run, points.end(), is_mark);
    run = std::find_if_not(begin, points.end(), is_mark);
    const auto before = [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    };
    // Sorting asks for memory, and marks are mostly in order.
    if (!std::is_sorted(begin, run, before)) std::stable_sort(begin, run, before);
  }
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  const auto n = utf8proc_normalize_utf32(points.data(),
                                          static_cast<utf8proc_ssize_t>(points.size()), options);
  require(n >= 0, "utf8proc cannot compose");
  points.resize(static_cast<size_t>(n));
}

std::vector<uint8_t> make_table() {
  std::vector<uint8_t> table(kEnd);
  CodePoints decomposed, composed;
  for (char32_t c = 0; c < kEnd; ++c) {
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    table[c] |= category_bits(static_cast<utf8proc_category_t>(property->category));
    if (combining_class(static_cast<utf8proc_int32_t>(c)) != 0) table[c] |= kNfcUnsafe;
    if (property->decomp_seqindex == UINT16_MAX || c == kCompositeNewerThanReference) continue;
    // Both forms by what they do to the character; the last part of a decomposition may also
    // compose with what stands before it.
    for (const Form form : {Form::nfc, Form::nfkc}) {
      const uint8_t unsafe = form == Form::nfc ? kNfcUnsafe : kNfkcUnsafe;
      decomposed.clear();
      decompose(c, form, decomposed);
      composed = decomposed;
      compose(composed);
      if (composed.size() != 1 || composed[0] != static_cast<utf8proc_int32_t>(c))
        table[c] |= unsafe;
      if (decomposed.size() > 1 && property->decomp_type == 0)
        table[static_cast<size_t>(decomposed.back())] |= unsafe;
    }
  }
  for (char32_t c = 0x1161; c <= 0x1175; ++c) table[c] |= kNfcUnsafe;  // Hangul vowels
  for (char32_t c = 0x11A8; c <= 0x11C2; ++c) table[c] |= kNfcUnsafe;  // and final consonants
  for (const Range& r : kNewerThanReference)
    for (char32_t c = r.first; c <= r.last; ++c) set_class(table[c], Class::other);
  for (const Range& r : kWhiteSpace)
    for (char32_t c = r.first; c <= r.last; ++c) set_class(table[c], Class::space);
  for (const Range& r : kOtherWord)
    for (char32_t c = r.first; c <= r.last; ++c) table[c] |= kWord;
  return table;
}

const uint8_t* table() {
  static const std::vector<uint8_t> kTable = make_table();
  return kTable.data();
}

// Where the first byte from `at` on is that is not ASCII.
size_t ascii_end(std::string_view text, size_t at) {
  for (; text.size() - at >= 64; at += 64) {
    const uint64_t other = ByteBlock(text.data() + at).not_ascii();
    if (other != 0) return at + static_cast<size_t>(std::countr_zero(other));
  }
  for (; text.size() - at >= 8; at += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (at < text.size() && static_cast<signed char>(text[at]) >= 0) ++at;
  return at;
}

// Where the first code point is that the form may change, or that changes what stands before it.
size_t safe_end(std::string_view text, uint8_t unsafe) {
  const uint8_t* const flags = table();
  for (size_t at = 0; (at = ascii_end(text, at)) < text.size();) {
    // What is not ASCII comes in runs, in most languages.
    while (at < text.size() && static_cast<signed char>(text[at]) < 0) {
      size_t after = at;
      if (flags[next(text, after)] & unsafe) return at;
      at = after;
    }
  }
  return text.size();
}

}  // namespace

Class class_of(char32_t c) {
  static const uint8_t* const kTable = table();
  return static_cast<Class>(kTable[c] & 3);
}

bool is_word(char32_t c) {
  return table()[c] & kWord;
}

bool is_numeric(char32_t c) {
  return table()[c] & kNumeric;
}

bool is_punctuation(char32_t c) {
  return c < 0x80 ? std::ispunct(static_cast<int>(c)) != 0 : (table()[c] & kPunctuation) != 0;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

bool is_ascii(std::string_view text) {
  return ascii_end(text, 0) == text.size();
}

bool is_valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t i) {
      return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    // The length that the first byte promises, and the range of the second byte (narrower than
    // 80..BF where a wider one would be overlong, a surrogate or past U+10FFFF).
    const unsigned first = byte(0);
    size_t length = 0;
    unsigned low = 0x80, high = 0xBF;
    if (first < 0x80) {
      length = 1;
    } else if (first >= 0xC2 && first <= 0xDF) {
      length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
      length = 3;
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
      length = 4;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
    }
    size_t good = length == 0 ? 0 : 1;
    while (good != 0 && good < length && byte(good) >= low && byte(good) <= high) {
      ++good;
      low = 0x80, high = 0xBF;
    }
    if (good == length && length != 0) {
      out.append(text, at, length);
    } else {
      append_utf8(out, 0xFFFD);
    }
    at += std::max<size_t>(good, 1);
  }
  return out;
}

std::string_view normalize(std::string_view text, Form form, std::string& buffer) {
  if (form == Form::none) return text;
  const uint8_t unsafe = form == Form::nfc ? kNfcUnsafe : kNfcUnsafe | kNfkcUnsafe;
  const size_t first = safe_end(text, unsafe);
  if (first == text.size()) return text;
  const uint8_t* const flags = table();
  size_t copied = 0;  // text[0, copied) is in `buffer`
  bool changed = false;
  thread_local CodePoints points;
  // `safe` is where the last code point began that neither changes nor touches what is before it.
  for (size_t at = first, safe = at == 0 ? 0 : previous(text, at); at < text.size();) {
    if (static_cast<signed char>(text[at]) >= 0) {  // ASCII is always safe
      at = ascii_end(text, at);
      safe = at - 1;
      continue;
    }
    const size_t begin = at;
    const char32_t c = next(text, at);
    if (!(flags[c] & unsafe)) {
      safe = begin;
      continue;
    }
    // The region [safe, at): from the safe code point before to the next one after.
    while (at < text.size()) {
      size_t after = at;
      if (!(flags[next(text, after)] & unsafe)) break;
      at = after;
    }
    points.clear();
    for (size_t i = safe; i < at;) decompose(next(text, i), form, points);
    compose(points);
    if (!changed) buffer.clear();
    changed = true;
    buffer.append(text, copied, safe - copied);
    for (const utf8proc_int32_t p : points) append_utf8(buffer, static_cast<char32_t>(p));
    copied = safe = at;
  }
  if (!changed) return text;
  buffer.append(text, copied);
  return buffer;
}

}  // namespace midfill::unicode
