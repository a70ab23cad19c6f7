#include "src/data/dataset_writer.h"

#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "kernels/common/check.h"

namespace midfill {

void refuse_existing(const std::string& prefix) {
  for (const auto& path : {bin_path(prefix), idx_path(prefix)})
    require(!std::filesystem::exists(path), "{}: already exists; refusing to overwrite it", path);
}
void remove_dataset(const std::string& prefix) {
  std::error_code ignored;
  std::filesystem::remove(idx_path(prefix), ignored);
  std::filesystem::remove(bin_path(prefix), ignored);
}

IndexedDatasetWriter::IndexedDatasetWriter(std::string prefix, int vocab_size)
    : prefix_(std::move(prefix)),
      vocab_size_(vocab_size),
      type_(vocab_size < kSmallVocab ? TokenType::u16 : TokenType::i32) {
  refuse_existing(prefix_);
  bin_ = std::make_unique<AtomicFile>(bin_path(prefix_));
}

void IndexedDatasetWriter::add_document(std::span<const TokenId> tokens) {
  require(tokens.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
          "{}: document {} has {} tokens, the format allows {}", bin_path(prefix_), sizes_.size(),
          tokens.size(), std::numeric_limits<int32_t>::max());
  const size_t token_bytes = static_cast<size_t>(bytes_of(type_));
  row_.resize(tokens.size() * token_bytes);
  for (size_t i = 0; i < tokens.size(); ++i) {
    require(tokens[i] >= 0 && tokens[i] < vocab_size_,
            "{}: token {} of document {} is {}, expected an id from 0 to {}", bin_path(prefix_), i,
            sizes_.size(), tokens[i], vocab_size_ - 1);
    // Little-endian: the low bytes of an id are the id as stored.
    std::memcpy(row_.data() + i * token_bytes, &tokens[i], token_bytes);
  }
  bin_->write(row_.data(), row_.size());
  sizes_.push_back(static_cast<int32_t>(tokens.size()));
  n_tokens_ += static_cast<int64_t>(tokens.size());
}

void IndexedDatasetWriter::commit() {
  AtomicFile index(idx_path(prefix_));
  const auto put = [&index](auto value) { index.write(&value, sizeof value); };
  index.write(kIndexMagic);
  put(kIndexVersion);
  put(static_cast<uint8_t>(type_));
  put(static_cast<uint64_t>(sizes_.size()));
  put(static_cast<uint64_t>(sizes_.size() + 1));
  for (const int32_t size : sizes_) put(size);
  int64_t pointer = 0;
  for (const int32_t size : sizes_) {
    put(pointer);
    pointer += int64_t{size} * bytes_of(type_);
  }
  for (int64_t d = 0; d <= n_documents(); ++d) put(d);

  // The index comes last: a dataset without one is not there.
  bin_->commit();
  try {
    index.commit();
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(bin_path(prefix_), ignored);
    throw;
  }
}

}  // namespace midfill
