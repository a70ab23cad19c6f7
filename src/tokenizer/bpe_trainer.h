// Learns a byte-level BPE vocabulary by the recipe of GPT-NeoX-20B's tokenizer: NFC, GPT-2 pattern,
// and in each round the most frequent adjacent pair becomes a token.
// Source: Sennrich, Haddow, Birch 2016; Black et al. 2022, section 3.2.
#pragma once

#include <string>

#include "src/tokenizer/piece_counts.h"

namespace midfill {

struct BpeTrainerOptions {
  // All ids: <|endoftext|> 0, <|padding|> 1, the 256 byte symbols, the merges, the runs of 24 down
  // to 2 spaces, and the sentinels <|SUF|>, <|PRE|>, <|MID|> last.
  int vocab_size = 0;
  // Runs of 2 to 24 spaces as tokens of their own, matched before the pattern: indentation then
  // costs one token and never merges with words.
  bool space_runs = true;
};

// The tokenizer.json learnt from the counts. Exact greedy merging; of pairs with equal counts the
// one with the smaller ids is taken, so the result is a function of counts and options alone. A
// pair whose text is a token already is passed over, so every token has one merge; pairs that occur
// once are not merged. Throws Error where `vocab_size` is too small for the fixed ids,
// or the text too little to learn so many tokens.
std::string train_bpe(const PieceCounts& counts, const BpeTrainerOptions& options);

}  // namespace midfill
