#include "src/tokenizer/piece_scanner.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/common/rng.h"
#include "src/tokenizer/pre_tokenizer.h"

namespace midfill {
namespace {

using Ends = std::vector<size_t>;

// A copy that fills its allocation, so that AddressSanitizer sees a read past the text.
struct Exact {
  explicit Exact(std::string_view text) : bytes(text.begin(), text.end()) { bytes.shrink_to_fit(); }
  std::string_view view() const { return {bytes.data(), bytes.size()}; }
  std::vector<char> bytes;
};

Ends scanned(std::string_view text, size_t longest_run) {
  const Exact exact(text);
  Ends ends;
  for (PieceScanner scanner(exact.view(), longest_run); !scanner.done();) {
    const size_t begin = scanner.window_begin();
    for (const uint16_t end : scanner.next()) ends.push_back(begin + end);
  }
  return ends;
}

// The definition: runs of spaces are matched first, leftmost-longest; the pattern sees the texts
// between them one by one.
Ends defined(std::string_view text, size_t longest_run) {
  Ends ends;
  for (size_t at = 0; at < text.size();) {
    size_t run = longest_run == 0 ? text.size() : std::min(text.find("  ", at), text.size());
    for (const std::string_view section = text.substr(0, run); at < run;) {
      at = gpt2_piece_end(section, at);
      ends.push_back(at);
    }
    if (run == text.size()) break;
    at = std::min(text.find_first_not_of(' ', run), text.size());
    if (at - run > longest_run && (at - run) % longest_run == 1) --at;
    ends.push_back(at);
  }
  return ends;
}

void expect_same(std::string_view text) {
  for (const size_t longest : {0, 2, 3, 7, 16, 24, 100})
    ASSERT_EQ(scanned(text, longest), defined(text, longest))
        << "runs of up to " << longest << " spaces, text \"" << text << "\"";
}

constexpr std::string_view kParts[] = {
    " ",      " ",          " ",      "  ",  "\n", "\t",     "\r\n",   "'",      "'s",
    "'ll",    "'r",         "'re",    "'ve", "'m", "a",      "Zq",     "7",      "_",
    "!",      "<|",         "''",     "s",   "e",  "\u00A0", "\u2028", "\u3000", "\u00E9",
    "\u0301", "\U0001F468", "\u4E2D", "d",   "\0", "\x7F"};

std::string random_text(uint64_t sample, uint64_t parts) {
  Rng rng(7, Purpose::kTest, 0, sample);
  // A few kinds of parts at a time, so that runs of one class come about.
  const uint64_t first = rng.below(std::size(kParts)), kinds = 1 + rng.below(std::size(kParts));
  std::string text;
  for (uint64_t n = rng.below(parts); n > 0; --n) {
    const std::string_view part = kParts[(first + rng.below(kinds)) % std::size(kParts)];
    for (uint64_t again = rng.below(8) == 0 ? 1 + rng.below(40) : 1; again > 0; --again)
      text += part;
  }
  return text;
}

TEST(PieceScanner, FindsThePiecesOfThePattern) {
  expect_same("");
  for (uint64_t sample = 0; sample < 20000; ++sample) {
    expect_same(random_text(sample, 120));
    if (HasFatalFailure()) return;
  }
}

// Every part at every place around the limits of a word, before an end of the text and before more.
TEST(PieceScanner, MindsTheLimitsOfWords) {
  for (const std::string_view part : kParts)
    for (const std::string_view other : kParts)
      for (const std::string_view filler : {"a", " ", "!", "\n", "5", "\u3000", "\u4E2D"}) {
        std::string text;
        while (text.size() < 56) text += filler;
        for (size_t pad = 0; pad < 10; ++pad, text += 'x') {
          const std::string whole = text + std::string(part) + std::string(other) + "s e";
          for (const size_t longest : {0, 24}) {
            ASSERT_EQ(scanned(whole, longest), defined(whole, longest)) << whole;
            // Ends of the text before, at and after the limit.
            const std::string_view cut(whole.data(), whole.size() - 3);
            ASSERT_EQ(scanned(cut, longest), defined(cut, longest)) << cut;
          }
        }
      }
}

TEST(PieceScanner, MindsTheLimitsOfWindows) {
  for (uint64_t sample = 0; sample < 60; ++sample) {
    const std::string text = std::string(PieceScanner::kWindow - 40, "ax !\n"[sample % 5]) +
                             random_text(sample, 60) + random_text(sample + 1000, 9000);
    expect_same(text);
    if (HasFatalFailure()) return;
  }
}

// Runs of spaces of all lengths, from every place in a word.
TEST(PieceScanner, LeavesOneSpaceOfARunWhereTheTokensDo) {
  for (size_t before = 0; before < 66; ++before)
    for (size_t spaces = 1; spaces < 140; spaces += before % 4 == 0 ? 1 : 7)
      for (const std::string_view after : {"", "x", "'s", "\n", "\n x", "\u3000", "1"}) {
        const std::string text =
            std::string(before, 'x') + std::string(spaces, ' ') + std::string(after);
        for (const size_t longest : {2, 5, 24})
          ASSERT_EQ(scanned(text, longest), defined(text, longest)) << before << " " << spaces;
      }
}

TEST(ByteBlock, AnswersAsOneByteAfterTheOther) {
  Rng rng(3, Purpose::kTest);
  for (int sample = 0; sample < 3000; ++sample) {
    char bytes[64];
    for (char& byte : bytes) byte = static_cast<char>(rng.below(256));
    const ByteBlock fast(bytes);
    const PortableByteBlock slow(bytes);
    const auto first = static_cast<unsigned char>(rng.below(256));
    const auto last = static_cast<unsigned char>(first + rng.below(256u - first));
    const auto set = static_cast<unsigned char>(sample % 2 == 0 ? 0 : 1u << rng.below(8));
    ASSERT_EQ(fast.equal(first), slow.equal(first));
    ASSERT_EQ(fast.in_range(first, last, set), slow.in_range(first, last, set));
    ASSERT_EQ(fast.not_ascii(), slow.not_ascii());
  }
}

}  // namespace
}  // namespace midfill
