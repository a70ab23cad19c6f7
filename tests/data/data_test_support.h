// A small tokenizer and random text for the tests of FIM and streams.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/common/rng.h"
#include "src/data/indexed_dataset.h"
#include "src/tokenizer/tokenizer.h"
#include "tests/support/test_support.h"

namespace midfill::test {

// Byte-level BPE with a few hundred merges: words, whitespace, and pieces of UTF-8 characters that
// begin and end inside characters. Adds <|endoftext|>, <|padding|> and runs of 2 to 6 spaces.
const Tokenizer& small_tokenizer();
// Its id of one byte.
TokenId byte_token(char byte);

// Random text of up to about `bytes` bytes: code, prose, every kind of whitespace, CJK, emoji,
// combining marks, and text that spells special tokens. Valid UTF-8, not always NFC.
std::string random_text(Rng& rng, size_t bytes);

// Documents of random text, each encoded as data is and ended by EOD.
std::vector<std::vector<TokenId>> random_documents(const Tokenizer& tokenizer, uint64_t seed,
                                                   int count, size_t bytes);

// A dataset of these documents under `prefix`.
std::shared_ptr<const IndexedDataset> dataset_of(
    const std::string& prefix, const Tokenizer& tokenizer,
    const std::vector<std::vector<TokenId>>& documents);

}  // namespace midfill::test
