// Megatron / GPT-NeoX memory-mapped datasets: PREFIX.bin (token ids back to back) and PREFIX.idx
// (sizes, pointers, document index). Layout in docs/data-format.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/io/file.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Reads. Everything the index claims is checked against the files when they are opened.
class IndexedDataset {
 public:
  // Throws Error (file, offset, found, expected). `vocab_size` > 0: ids are checked against it when
  // copied out.
  static IndexedDataset open(const std::string& prefix, int vocab_size = 0);

  int64_t n_sequences() const { return static_cast<int64_t>(sizes_.size()); }
  int64_t n_documents() const { return static_cast<int64_t>(documents_.size()) - 1; }
  int64_t n_tokens() const { return static_cast<int64_t>(starts_.back()); }
  const std::string& prefix() const { return prefix_; }

  int64_t sequence_size(int64_t i) const { return sizes_[i]; }
  // Sequences [document(d), document(d + 1)) make up document d.
  int64_t document(int64_t d) const { return documents_[d]; }

  // Tokens [begin, begin + out.size()) of the sequences laid end to end in file order.
  void read(int64_t begin, std::span<TokenId> out) const;
  // Position of the first token of sequence i in that order; i = n_sequences() gives n_tokens().
  int64_t sequence_begin(int64_t i) const { return starts_[i]; }

 private:
  std::string prefix_;
  MappedFile bin_;
  int token_bytes_ = 0;
  int dtype_code_ = 0;
  int vocab_size_ = 0;
  std::vector<int32_t> sizes_;
  std::vector<int64_t> pointers_;   // bytes into .bin
  std::vector<int64_t> starts_;     // tokens, n_sequences + 1
  std::vector<int64_t> documents_;  // n_documents + 1
};

// Writes PREFIX.bin and PREFIX.idx; both appear at commit() or not at all. Refuses to replace
// existing files. Ids are u16 where vocab_size < 65,500, else i32, as in GPT-NeoX.
class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(std::string prefix, int vocab_size);
  ~IndexedDatasetWriter();
  void add_document(std::span<const TokenId> tokens);  // one sequence, one document
  int64_t n_tokens() const { return n_tokens_; }
  int64_t n_documents() const { return static_cast<int64_t>(sizes_.size()); }
  void commit();

 private:
  std::string prefix_;
  int vocab_size_;
  int token_bytes_;
  int64_t n_tokens_ = 0;
  std::vector<int32_t> sizes_;
  std::unique_ptr<AtomicFile> bin_;
  std::vector<std::byte> row_;
};

}  // namespace midfill
