#include "src/data/documents.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "kernels/common/check.h"
#include "src/data/input_file.h"

namespace midfill {

namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr size_t kSniffBytes = 8192;  // where a NUL byte makes a file binary

bool is_jsonl(const std::string& path) {
  return path.ends_with(".jsonl") || path.ends_with(".jsonl.zst") || path.ends_with(".jsonl.gz");
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

DocumentReader::DocumentReader(const std::vector<std::filesystem::path>& files,
                               DocumentOptions options)
    : options_(std::move(options)), chunk_(kChunkBytes), json_(options_.text_key) {
  for (const auto& path : files) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    require(!error, "{}: cannot read: {}", path.string(), error.message());
    files_.push_back(path.string());
    sizes_.push_back(size);
    bytes_total_ += size;
  }
}

uint64_t DocumentReader::bytes_done() const {
  return bytes_behind_ + (stream_ ? stream_->consumed() : 0);
}

bool DocumentReader::next(std::string& text) {
  for (;;) {
    bool found = false;
    if (stream_) {
      found = next_json(text);
    } else if (file_ == files_.size()) {
      return false;
    } else if (is_jsonl(files_[file_])) {
      stream_ = open_stream(files_[file_++]);
      line_number_ = 0;
    } else {
      found = read_text_file(files_[file_++], text);
      bytes_behind_ += sizes_[file_ - 1];
    }
    if (!found) continue;
    if (!text.empty()) {
      ++counts_.documents;
      return true;
    }
    ++counts_.empty;
  }
}

// The text of the next good line; false where the file ended, which closes it.
bool DocumentReader::next_json(std::string& text) {
  const std::string& path = files_[file_ - 1];
  while (next_line()) {
    if (is_blank(line_)) continue;
    try {
      json_.text_of(line_, text);
      return true;
    } catch (const Error& error) {
      const std::string message = fmt::format("{}: line {}: {}", path, line_number_, error.what());
      if (!options_.on_bad_line) throw Error(message);
      ++counts_.bad_lines;
      options_.on_bad_line(message);
    }
  }
  stream_.reset();
  bytes_behind_ += sizes_[file_ - 1];
  return false;
}

// The next line, without its end, into line_; false at the end of the file.
bool DocumentReader::next_line() {
  line_.clear();
  ++line_number_;
  for (;;) {
    if (chunk_at_ == chunk_end_) {
      chunk_at_ = 0;
      chunk_end_ = stream_->read(chunk_);
      if (chunk_end_ == 0) return !line_.empty();
    }
    const char* begin = chunk_.data() + chunk_at_;
    const void* newline = std::memchr(begin, '\n', chunk_end_ - chunk_at_);
    const size_t n = newline ? static_cast<size_t>(static_cast<const char*>(newline) - begin)
                             : chunk_end_ - chunk_at_;
    require(line_.size() + n <= options_.max_bytes, "{}: line {} is longer than {} bytes",
            files_[file_ - 1], line_number_, options_.max_bytes);
    line_.append(begin, n);
    chunk_at_ += newline ? n + 1 : n;
    if (newline) return true;
  }
}

// False for a binary file.
bool DocumentReader::read_text_file(const std::string& path, std::string& text) {
  const InputFile file(path);
  text.resize(std::min<uint64_t>(file.size(), kSniffBytes));
  file.read(0, std::as_writable_bytes(std::span(text)));
  if (text.find('\0') != std::string::npos) {
    ++counts_.binary_files;
    return false;
  }
  require(file.size() <= options_.max_bytes,
          "{}: {} bytes in one document, expected at most {}; put its documents into a .jsonl file",
          path, file.size(), options_.max_bytes);
  text.resize(file.size());
  file.read(0, std::as_writable_bytes(std::span(text)));
  return true;
}

}  // namespace midfill
