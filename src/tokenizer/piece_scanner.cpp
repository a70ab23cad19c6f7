#include "src/tokenizer/piece_scanner.h"

#include <algorithm>
#include <bit>

namespace midfill {

namespace {

constexpr size_t kWord = 64;

// Bit i of the results: bit i - 1 of `now`, or bit i + n of it, across words.
uint64_t previous(uint64_t now, uint64_t before) {
  return now << 1 | before >> 63;
}
uint64_t following(uint64_t now, uint64_t next, int n) {
  return now >> n | next << (64 - n);
}

bool has_eight_in_a_row(uint64_t bits) {
  bits &= bits >> 1;
  bits &= bits >> 2;
  bits &= bits >> 4;
  return bits != 0;
}

}  // namespace

PieceScanner::PieceScanner(std::string_view text, size_t longest_space_run)
    : text_(text), longest_space_run_(longest_space_run) {
  ahead_ = classify(0);
}

PieceScanner::Classes PieceScanner::classify(size_t at) {
  Classes classes;
  if (at >= text_.size()) return classes;
  const size_t size = text_.size() - at;
  char last[kWord];
  uint64_t inside = ~uint64_t{0};
  const char* bytes = text_.data() + at;
  if (size < kWord) {
    std::memset(last, 0, sizeof(last));
    std::memcpy(last, bytes, size);
    bytes = last;
    inside = (uint64_t{1} << size) - 1;
  }
  const ByteBlock block(bytes);
  classes.letter = block.in_range('a', 'z', 0x20);
  classes.number = block.in_range('0', '9');
  classes.blank = block.equal(' ');
  classes.space = classes.blank | block.in_range('\t', '\r');
  classes.apostrophe = block.equal('\'');
  classes.s_t_m_d = block.equal('s') | block.equal('t') | block.equal('m') | block.equal('d');
  classes.r_v = block.equal('r') | block.equal('v');
  classes.e = block.equal('e');
  classes.l = block.equal('l');
  const uint64_t not_ascii = block.not_ascii();
  if (not_ascii != 0) [[unlikely]] {
    classes.continuation = block.in_range(0x80, 0xBF);
    classify_not_ascii(at, not_ascii & ~classes.continuation, classes);
  }
  classes.other = inside & ~(classes.letter | classes.number | classes.space);
  return classes;
}

void PieceScanner::classify_not_ascii(size_t at, uint64_t leads, Classes& classes) {
  uint64_t of_class[4] = {};
  const auto set = [&](unicode::Class c, size_t begin, size_t bytes) {
    of_class[static_cast<size_t>(c)] |= ((uint64_t{1} << bytes) - 1) << begin;
  };
  set(spilled_class_, 0, spilled_);
  spilled_ = 0;
  for (; leads != 0; leads &= leads - 1) {
    const auto begin = static_cast<size_t>(std::countr_zero(leads));
    size_t end = at + begin;
    const unicode::Class c = unicode::class_of(unicode::next(text_, end));
    end -= at;
    set(c, begin, end - begin);
    if (end > kWord) {
      spilled_ = static_cast<unsigned>(end - kWord);
      spilled_class_ = c;
    }
  }
  classes.letter |= of_class[static_cast<size_t>(unicode::Class::letter)];
  classes.number |= of_class[static_cast<size_t>(unicode::Class::number)];
  classes.space |= of_class[static_cast<size_t>(unicode::Class::space)];
}

// The spaces that are cut out before the pattern: those beside another, less the last of a run that
// the longest token leaves one of.
uint64_t PieceScanner::space_runs(uint64_t blank, uint64_t next_blank) {
  uint64_t run = blank & (previous(blank, blank_before_) | following(blank, next_blank, 1));
  const size_t begun = run_length_;
  blank_before_ = blank;
  const auto at_the_end = static_cast<size_t>(std::countl_one(run));
  run_length_ = at_the_end + (at_the_end == kWord ? begun : 0);
  // Nothing is left over of a run that one token can hold.
  if (begun < 8 && longest_space_run_ >= 14 && !has_eight_in_a_row(run)) return run;
  const bool goes_on = next_blank & 1;
  for (uint64_t left = run; left != 0;) {
    const int begin = std::countr_zero(left);
    const int end = begin + std::countr_one(left >> begin);
    if (end == 64 && goes_on) break;
    const size_t length = static_cast<size_t>(end - begin) + (begin == 0 ? begun : 0);
    if (length % longest_space_run_ == 1 && length > longest_space_run_)
      run &= ~(uint64_t{1} << (end - 1));
    left = end == 64 ? 0 : left & ~uint64_t{0} << end;
  }
  return run;
}

// The pattern has no look-behind, so a piece begins where the one before it ends. Read from left to
// right that says, of a character that is not the first:
// - In a run of letters, numbers or others only the first begins a piece, and not where a space
//   stands before it, which takes it along, nor where an apostrophe begins a contraction with it.
// - After a contraction a piece begins. An apostrophe begins one where it begins a piece, thus
// after
//   anything but another of the class `other` or a space that takes it along.
// - White space begins a piece after anything else; and its last character does before anything
//   else, since \s+(?!\S) leaves it. Before a run of spaces or the end of the text it is one piece.
uint64_t PieceScanner::begins(const Classes& now, const Classes& next) {
  const uint64_t run = longest_space_run_ == 0 ? 0 : space_runs(now.blank, next.blank);
  const uint64_t space = now.space & ~run, blank = now.blank & ~run;

  const uint64_t taken_along = previous(blank, before_.blank);
  const uint64_t first_other = now.other & ~previous(now.other, before_.other);
  const uint64_t first = first_other | (now.letter & ~previous(now.letter, before_.letter)) |
                         (now.number & ~previous(now.number, before_.number));

  const uint64_t apostrophe = now.apostrophe & first_other & ~taken_along;
  const uint64_t two = apostrophe & following(now.s_t_m_d, next.s_t_m_d, 1);
  const uint64_t three =
      apostrophe & ((following(now.r_v, next.r_v, 1) & following(now.e, next.e, 2)) |
                    (following(now.l, next.l, 1) & following(now.l, next.l, 2)));
  const uint64_t in_contraction =
      previous(two | three, before_.short_contraction | before_.long_contraction);
  const uint64_t after_contraction =
      two << 2 | before_.short_contraction >> 62 | three << 3 | before_.long_contraction >> 61;

  const uint64_t something = now.letter | now.number | now.other;
  const uint64_t next_something = next.letter | next.number | next.other;
  uint64_t last_space = space & following(something, next_something, 1);
  const uint64_t inside = now.continuation, next_inside = next.continuation;
  if ((inside | next_inside) != 0) [[unlikely]] {
    // From the last byte of the character to its first: it has up to three.
    const uint64_t next_last = next.space & next_something >> 1 & next_inside;
    const uint64_t moved = following(last_space & inside, next_last, 1);
    const uint64_t next_moved = next_last >> 1;
    const uint64_t twice = following(moved & inside, next_moved & next_inside, 1);
    last_space = (last_space | moved | twice) & ~inside;
  }

  const uint64_t begin =
      (first & ~taken_along & ~in_contraction) | (after_contraction & (something | now.space)) |
      (space & ~previous(space, before_.space)) | last_space | (run & ~previous(run, before_.run));
  before_ = {.letter = now.letter,
             .number = now.number,
             .other = now.other,
             .space = space,
             .blank = blank,
             .run = run,
             .short_contraction = two,
             .long_contraction = three};
  return begin;
}

std::span<const uint16_t> PieceScanner::next() {
  size_t n = 0;
  const size_t window = std::min(kWindow, text_.size() - at_);
  for (size_t offset = 0; offset < window; offset += kWord) {
    const Classes now = ahead_;
    ahead_ = classify(at_ + offset + kWord);
    uint64_t bits = begins(now, ahead_);
    if (at_ + offset == 0) bits &= ~uint64_t{1};  // no piece ends where the text begins
    // Four at a time: how many bits a word has is hard to predict.
    const auto count = static_cast<size_t>(std::popcount(bits));
    for (size_t i = 0; i < count; i += 4) {
      for (size_t k = 0; k < 4; ++k) {
        ends_[n + i + k] =
            static_cast<uint16_t>(offset + static_cast<size_t>(std::countr_zero(bits)));
        bits &= bits - 1;
      }
    }
    n += count;
  }
  at_ += window;
  if (done()) ends_[n++] = static_cast<uint16_t>(window);
  return {ends_.data(), n};
}

}  // namespace midfill
