// Fill-in-the-middle: turns a run of tokens into infilling examples. docs/fim.md has the format,
// the algorithm and why.
//
//   psm    PRE prefix SUF suffix MID middle EOD
//   spm1   SUF suffix PRE prefix MID middle EOD
//   spm2   PRE SUF suffix MID prefix middle EOD
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/common/rng.h"
#include "src/config/config.h"
#include "src/data/sample.h"
#include "src/tokenizer/piece_boundaries.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Everything random about one run of tokens: segment i of it draws from Rng(seed, purpose, epoch,
// sample, i).
struct FimKey {
  uint64_t seed;
  Purpose purpose;
  uint64_t epoch, sample;
};

class FimTransform {
 public:
  // Uses config's rate, unit and mode weights (the level is the stream's business). The tokenizer
  // must outlive the transform. Throws Error where it lacks a sentinel or an EOD, or where the mode
  // weights leave no choice.
  FimTransform(const FimConfig& config, const Tokenizer& tokenizer);

  // Fills sample.tokens, .weights (0 for padding, else 1), .segments, .dropped, .padded and
  // .reverted; .index is left alone. As many tokens come out as go in. Every segment of `tokens` is
  // transformed with probability `rate`. What the growth pushes out is dropped at the end, before
  // the cuts are drawn: the three parts, their sentinels and the EOD after the middle are always
  // complete, and prefix + middle + suffix spell the segment byte for byte. Each part has the
  // tokens that its text alone is encoded to; only the pieces that a cut touches are encoded, the
  // others keep their tokens. Same key, same cuts, whatever the mode. Safe to call from several
  // threads; allocates nothing once `sample` and the thread have seen samples of this size. Throws
  // Error for an id that the tokenizer does not have.
  // With `enough`, no segment is begun once so many tokens are out; then fewer come out than go in,
  // and what is pushed out at the end is not known.
  void apply(std::span<const TokenId> tokens, const FimKey& key, Sample& sample,
             int32_t enough = std::numeric_limits<int32_t>::max()) const;

 private:
  struct Draws;
  struct Text;
  struct Cut;
  struct Part;
  struct Parts;
  struct Workspace;
  enum class Split { done, nothing_to_cut, irreversible };

  Draws draw(const FimKey& key, uint64_t segment) const;
  bool measure(Text& text) const;
  int32_t places_in(TokenId token) const;
  int32_t places_before(const Text& text, int32_t token) const;
  Cut place(const Text& text, int32_t number) const;
  int32_t end_of_whole_characters(const Text& text, int32_t head, int32_t length) const;
  bool encode(const Text& text, Cut from, Cut to, std::vector<TokenId>& out) const;
  bool encode_part(const Text& text, Cut from, Cut to, Part& part) const;
  Split split(const Text& text, int32_t length, const Draws& draws, Parts& parts) const;
  Split fit(Text& text, int32_t room, const Draws& draws, Workspace& work) const;
  void append_plain(std::span<const TokenId> tokens, bool ends, Sample& sample) const;
  void append_parts(const Text& text, const Parts& parts, SegmentKind kind, Sample& sample) const;

  FimConfig config_;
  const Tokenizer& tokenizer_;
  Sentinels ids_;
  PieceBoundaries boundaries_;
  std::vector<uint32_t> facts_;  // by id: places to cut, and flags
};

}  // namespace midfill
