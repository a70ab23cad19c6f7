// Reads Megatron / GPT-NeoX datasets. Layout in docs/data-format.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/data/dataset_format.h"
#include "src/data/input_file.h"
#include "src/io/file.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Reads. Everything the index claims is checked against the files when they are opened; the tokens
// are mapped into memory. Memory: 8 bytes a sequence, and 8 a document where documents are not
// single sequences.
class IndexedDataset {
 public:
  // Throws Error (file, offset, found, expected). `vocab_size` > 0: ids are checked against it when
  // read, and types too small for it are refused; otherwise ids must be non-negative.
  static IndexedDataset open(const std::string& prefix, int vocab_size = 0);

  int64_t n_sequences() const { return static_cast<int64_t>(starts_.size()) - 1; }
  int64_t n_documents() const;
  int64_t n_tokens() const { return starts_.back(); }
  const std::string& prefix() const { return prefix_; }
  TokenType token_type() const { return type_; }
  // No id that is read is above it.
  int64_t max_id() const { return max_id_; }

  int64_t sequence_size(int64_t i) const { return starts_[i + 1] - starts_[i]; }
  // Sequences [document(d), document(d + 1)) make up document d; 0 <= d <= n_documents().
  int64_t document(int64_t d) const;

  // Tokens [begin, begin + out.size()) of the sequences laid end to end in file order. Safe to call
  // from several threads; allocates nothing. Throws Error for a range outside the dataset, an id
  // out of range, a file that is cut while in use, a disk that fails.
  void read(int64_t begin, std::span<TokenId> out) const;
  // Position of the first token of sequence i in that order; i = n_sequences() gives n_tokens().
  int64_t sequence_begin(int64_t i) const { return starts_[i]; }

 private:
  IndexedDataset(std::string prefix, MappedFile bin)
      : prefix_(std::move(prefix)), bin_(std::move(bin)) {}
  void read_index(const InputFile& index, int vocab_size);
  template <typename T>
  void report(const std::byte* from, int64_t first, size_t n) const;

  std::string prefix_;
  MappedFile bin_;
  TokenType type_{};
  int64_t max_id_ = 0;
  std::vector<int64_t> starts_;     // tokens before each sequence; n_sequences + 1
  std::vector<int64_t> documents_;  // first sequences; empty where each sequence is a document
};

}  // namespace midfill
