// Writes datasets: PREFIX.bin and PREFIX.idx, both or none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/data/dataset_format.h"
#include "src/io/file.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Writes PREFIX.bin and PREFIX.idx; both appear at commit() or not at all. Refuses to replace
// existing files. Ids are u16 where vocab_size < 65,500, else i32, as in GPT-NeoX. Memory: 4 bytes
// a document.
class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(std::string prefix, int vocab_size);
  void add_document(std::span<const TokenId> tokens);  // one sequence, one document
  int64_t n_tokens() const { return n_tokens_; }
  int64_t n_documents() const { return static_cast<int64_t>(sizes_.size()); }
  void commit();

 private:
  std::string prefix_;
  int vocab_size_;
  TokenType type_;
  int64_t n_tokens_ = 0;
  std::vector<int32_t> sizes_;
  std::unique_ptr<AtomicFile> bin_;
  std::vector<std::byte> row_;  // the document being written, as stored
};

// Throws Error where a file of the dataset exists.
void refuse_existing(const std::string& prefix);
// Takes back what a commit has put there.
void remove_dataset(const std::string& prefix);

}  // namespace midfill
