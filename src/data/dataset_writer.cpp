#include "src/data/dataset_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <system_error>
#include <utility>

#include "kernels/common/check.h"

namespace midfill {

namespace {

constexpr int64_t kChunk = 1 << 16;  // sizes that are read back at once

uint64_t idx_bytes(int64_t sequences) {
  return kIndexHeaderBytes + sizeof(int32_t) * static_cast<uint64_t>(sequences);
}

std::filesystem::path temporary_name(const std::string& path) {
  return fmt::format("{}.tmp.{}", path, ::getpid());
}

void remove_files(std::initializer_list<std::filesystem::path> paths) {
  std::error_code ignored;
  for (const auto& path : paths) std::filesystem::remove(path, ignored);
}

}  // namespace

TokenType type_for(int vocab_size) {
  return vocab_size < kSmallVocab ? TokenType::u16 : TokenType::i32;
}

void append_as_stored(std::span<const TokenId> ids, TokenType type, std::vector<std::byte>& out) {
  const size_t begin = out.size();
  if (type == TokenType::i32) {
    out.resize(begin + ids.size_bytes());
    std::memcpy(out.data() + begin, ids.data(), ids.size_bytes());
    return;
  }
  out.resize(begin + sizeof(uint16_t) * ids.size());
  std::byte* to = out.data() + begin;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<uint16_t>(ids[i]);
    std::memcpy(to + sizeof id * i, &id, sizeof id);
  }
}

GrowingDataset::GrowingDataset(const std::filesystem::path& bin, const std::filesystem::path& idx,
                               TokenType type, Length length)
    : type_(type),
      length_(length),
      bin_(bin, static_cast<uint64_t>(length.tokens * bytes_of(type))),
      idx_(idx, length.sequences > 0 ? idx_bytes(length.sequences) : 0) {
  if (idx_.length() == 0) idx_.append(std::string(kIndexHeaderBytes, '\0'));  // until the end
}

void GrowingDataset::append_tokens(std::span<const std::byte> stored) {
  bin_.append(stored.data(), stored.size());
  length_.tokens += static_cast<int64_t>(stored.size()) / bytes_of(type_);
}

void GrowingDataset::append_sizes(std::span<const int32_t> sizes) {
  idx_.append(sizes.data(), sizes.size_bytes());
  length_.sequences += static_cast<int64_t>(sizes.size());
}

void GrowingDataset::sync() {
  bin_.sync();
  idx_.sync();
}

void GrowingDataset::finish(const std::function<void(const Put&)>& put_documents) {
  std::vector<int32_t> sizes;
  std::vector<int64_t> values;
  int64_t pointer = 0;
  for (int64_t begin = 0; begin < length_.sequences; begin += kChunk) {
    sizes.resize(static_cast<size_t>(std::min(kChunk, length_.sequences - begin)));
    idx_.read_at(idx_bytes(begin), std::as_writable_bytes(std::span(sizes)));
    values.clear();
    for (const int32_t size : sizes) {
      values.push_back(pointer);
      pointer += int64_t{size} * bytes_of(type_);
    }
    idx_.append(values.data(), values.size() * sizeof(int64_t));
  }
  require(pointer == length_.tokens * bytes_of(type_),
          "{}: the sizes add up to {} bytes, expected {}", idx_.path().string(), pointer,
          length_.tokens * bytes_of(type_));

  uint64_t entries = 0;
  const auto put = [&](int64_t first_sequence) {
    idx_.append(&first_sequence, sizeof first_sequence);
    ++entries;
  };
  if (put_documents) {
    put_documents(put);
  } else {
    for (int64_t d = 0; d < length_.sequences; ++d) put(d);
  }
  put(length_.sequences);

  std::string header(kIndexMagic);
  const auto add = [&header](auto value) {
    header.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  add(kIndexVersion);
  add(static_cast<uint8_t>(type_));
  add(static_cast<uint64_t>(length_.sequences));
  add(entries);
  idx_.write_at(0, std::as_bytes(std::span(header)));
  sync();
}

void refuse_existing(const std::string& prefix) {
  for (const auto& path : {bin_path(prefix), idx_path(prefix)})
    require(!std::filesystem::exists(path), "{}: already exists; refusing to overwrite it", path);
}

DatasetOutput::DatasetOutput(const std::string& prefix, TokenType type)
    : prefix_(prefix),
      bin_(temporary_name(bin_path(prefix))),
      idx_(temporary_name(idx_path(prefix))) {
  refuse_existing(prefix);
  try {
    files_.emplace(bin_, idx_, type);
  } catch (...) {
    remove_files({bin_, idx_});
    throw;
  }
}

DatasetOutput::~DatasetOutput() {
  remove_files({bin_, idx_});
}

void DatasetOutput::commit(const std::function<void(const GrowingDataset::Put&)>& put_documents) {
  files_->finish(put_documents);
  // The index comes last: a dataset without one is not there.
  publish_file(bin_, bin_path(prefix_));
  try {
    publish_file(idx_, idx_path(prefix_));
  } catch (...) {
    remove_files({bin_path(prefix_)});
    throw;
  }
}

IndexedDatasetWriter::IndexedDatasetWriter(std::string prefix, int vocab_size)
    : prefix_(std::move(prefix)),
      vocab_size_(vocab_size),
      type_(type_for(vocab_size)),
      output_(prefix_, type_) {}

void IndexedDatasetWriter::add_document(std::span<const TokenId> tokens) {
  require(tokens.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
          "{}: document {} has {} tokens, the format allows {}", bin_path(prefix_), n_documents(),
          tokens.size(), std::numeric_limits<int32_t>::max());
  for (size_t i = 0; i < tokens.size(); ++i)
    require(tokens[i] >= 0 && tokens[i] < vocab_size_,
            "{}: token {} of document {} is {}, expected an id from 0 to {}", bin_path(prefix_), i,
            n_documents(), tokens[i], vocab_size_ - 1);
  row_.clear();
  append_as_stored(tokens, type_, row_);
  const auto size = static_cast<int32_t>(tokens.size());
  output_.files().append_tokens(row_);
  output_.files().append_sizes({&size, 1});
}

}  // namespace midfill
