// Writes datasets: PREFIX.bin and PREFIX.idx, both or none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/data/dataset_format.h"
#include "src/io/growing_file.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// How GPT-NeoX stores ids: u16 where the vocabulary is below 65,500, else i32.
TokenType type_for(int vocab_size);

// Appends ids as stored. They must fit the type, which is u16 or i32.
void append_as_stored(std::span<const TokenId> ids, TokenType type, std::vector<std::byte>& out);

// A dataset that grows under names of its own, synced where its owner wants to come back to. The
// sizes go where the index has them at last, so that nothing is held in memory.
class GrowingDataset {
 public:
  struct Length {
    int64_t tokens = 0, sequences = 0;
  };
  // Begins, or goes on at a length that was synced.
  GrowingDataset(const std::filesystem::path& bin, const std::filesystem::path& idx, TokenType type,
                 Length length);
  GrowingDataset(const std::filesystem::path& bin, const std::filesystem::path& idx, TokenType type)
      : GrowingDataset(bin, idx, type, {}) {}

  // Tokens as stored, and the sizes of sequences, each in order. They may come apart; by the end
  // the sizes must add up to the tokens.
  void append_tokens(std::span<const std::byte> stored);
  void append_sizes(std::span<const int32_t> sizes);
  Length length() const { return length_; }
  const std::filesystem::path& bin() const { return bin_.path(); }
  const std::filesystem::path& idx() const { return idx_.path(); }
  void sync();

  // Completes the index and syncs both. `put_documents` puts the first sequence of each document,
  // in order, by the function it is given; without it each sequence is a document.
  using Put = std::function<void(int64_t first_sequence)>;
  void finish(const std::function<void(const Put&)>& put_documents = nullptr);

 private:
  TokenType type_;
  Length length_;
  GrowingFile bin_, idx_;
};

// A growing dataset named NAME.tmp.PID, whose files appear as PREFIX.bin and PREFIX.idx at commit()
// or not at all. Refuses to replace existing files.
class DatasetOutput {
 public:
  DatasetOutput(const std::string& prefix, TokenType type);
  ~DatasetOutput();
  DatasetOutput(const DatasetOutput&) = delete;
  DatasetOutput& operator=(const DatasetOutput&) = delete;

  GrowingDataset& files() { return *files_; }
  const GrowingDataset& files() const { return *files_; }
  void commit(const std::function<void(const GrowingDataset::Put&)>& put_documents = nullptr);

 private:
  std::string prefix_;
  std::filesystem::path bin_, idx_;
  std::optional<GrowingDataset> files_;
};

// Writes a dataset a document at a time.
class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(std::string prefix, int vocab_size);

  void add_document(std::span<const TokenId> tokens);  // one sequence, one document
  int64_t n_tokens() const { return output_.files().length().tokens; }
  int64_t n_documents() const { return output_.files().length().sequences; }
  void commit() { output_.commit(); }

 private:
  std::string prefix_;
  int vocab_size_;
  TokenType type_;
  DatasetOutput output_;
  std::vector<std::byte> row_;  // the document being written, as stored
};

// Throws Error where a file of the dataset exists.
void refuse_existing(const std::string& prefix);
}  // namespace midfill
