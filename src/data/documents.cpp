#include "src/data/documents.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "kernels/common/check.h"
#include "src/data/input_file.h"
#include "src/io/file.h"

namespace midfill {

namespace {

constexpr size_t kSniffBytes = 8192;  // where a NUL byte makes a file binary
constexpr int64_t kTextFiles = 256;   // of a block
constexpr size_t kReadBytes = size_t{1} << 18;
constexpr size_t kKeptBytes = size_t{4} << 20;  // a larger buffer is given back

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

void give_back_large(std::string& buffer) {
  if (buffer.capacity() > kKeptBytes) std::string().swap(buffer);
}

std::string too_long(uint64_t max_bytes) {
  return fmt::format("longer than {} bytes", max_bytes);
}

}  // namespace

bool InputFileInfo::has_lines() const {
  return is_standard_input() || path.ends_with(".jsonl") || path.ends_with(".jsonl.zst") ||
         path.ends_with(".jsonl.gz");
}

std::vector<InputFileInfo> file_infos(const std::vector<std::filesystem::path>& paths) {
  std::vector<InputFileInfo> files;
  for (const auto& path : paths) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) fail_errno(path, "read");
    files.push_back({path.string(), static_cast<uint64_t>(status.st_size),
                     status.st_mtim.tv_sec * int64_t{1'000'000'000} + status.st_mtim.tv_nsec});
  }
  return files;
}

size_t InputBlock::cost(const std::vector<InputFileInfo>& files) const {
  size_t bytes = lines.capacity();
  for (int64_t i = 0; i < text_files; ++i) bytes += files[begin.file + i].bytes;
  return bytes;
}

BlockReader::BlockReader(const std::vector<InputFileInfo>& files, uint64_t max_bytes,
                         InputPosition from, Open open)
    : files_(files), max_bytes_(max_bytes), open_(std::move(open)), at_(from) {
  for (int64_t i = 0; i < at_.file; ++i) bytes_behind_ += files_[i].bytes;
  if (at_.offset > 0) open_at(at_.offset);
}

void BlockReader::open_at(uint64_t offset) {
  stream_ = open_(files_[at_.file].path);
  std::vector<char> passed(std::min<uint64_t>(offset, kBlockBytes));
  for (uint64_t left = offset; left > 0;) {
    const size_t n =
        stream_->read(std::span(passed).first(std::min<uint64_t>(left, passed.size())));
    require(n > 0, "{}: ends at byte {}, expected more than {}: it was cut while in use",
            files_[at_.file].path, offset - left, offset);
    left -= n;
  }
}

bool BlockReader::next(InputBlock& block) {
  const auto n_files = static_cast<int64_t>(files_.size());
  if (at_.file == n_files) return false;
  block = {};
  block.begin = at_;
  if (!stream_ && files_[at_.file].has_lines()) open_at(0);
  if (stream_) {
    read_lines(block);
    block.bytes_done = bytes_behind_ + (stream_ ? stream_->consumed() : 0);
  } else {
    uint64_t bytes = 0;
    while (at_.file < n_files && !files_[at_.file].has_lines() && block.text_files < kTextFiles) {
      const uint64_t more = files_[at_.file].bytes;
      if (block.text_files > 0 && bytes + more > kBlockBytes) break;
      bytes += more;
      ++block.text_files;
      end_file();
    }
    block.bytes_done = bytes_behind_;
  }
  block.end = at_;
  return true;
}

void BlockReader::end_file() {
  stream_.reset();
  bytes_behind_ += files_[at_.file].bytes;
  at_ = {at_.file + 1, 0};
}

// Appends to `text`; false at the end of the stream.
bool BlockReader::read_more(std::string& text) {
  const size_t size = text.size();
  text.resize(size + kReadBytes);
  const size_t n = stream_->read(std::span(text).subspan(size));
  text.resize(size + n);
  return n > 0;
}

void BlockReader::read_lines(InputBlock& block) {
  std::string& text = block.lines;
  text = std::exchange(carry_, {});
  size_t searched = 0;  // no newline before it
  while (read_more(text)) {
    if (text.size() < kBlockBytes) continue;
    const void* newline = ::memrchr(text.data() + searched, '\n', text.size() - searched);
    if (newline) {
      const size_t size = static_cast<size_t>(static_cast<const char*>(newline) - text.data()) + 1;
      carry_.assign(text, size);
      text.resize(size);
      at_.offset += size;
      return;
    }
    searched = text.size();
    if (text.size() > max_bytes_) {
      // The rest of the line is dropped as it comes.
      block.line_too_long = true;
      uint64_t dropped = text.size();
      std::string().swap(text);
      for (std::string more; read_more(more); more.clear()) {
        const size_t end = more.find('\n');
        if (end == std::string::npos) {
          dropped += more.size();
          continue;
        }
        carry_.assign(more, end + 1);
        at_.offset += dropped + end + 1;
        return;
      }
      break;
    }
  }
  end_file();
}

BlockCounts BlockParser::parse(const InputBlock& block,
                               const std::function<void(std::string_view)>& use) {
  counts_ = {};
  if (block.line_too_long) {
    counts_.lines = 1;
    counts_.bad.push_back({block.begin.file, 0, too_long(max_bytes_)});
  }
  parse_lines(block, use);
  for (int64_t i = 0; i < block.text_files; ++i) parse_file(block.begin.file + i, use);
  give_back_large(line_);
  return std::move(counts_);
}

void BlockParser::parse_lines(const InputBlock& block,
                              const std::function<void(std::string_view)>& use) {
  const std::string_view lines = block.lines;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const std::string_view line = lines.substr(begin, end - begin);
    begin = end + 1;
    const int64_t number = counts_.lines++;
    if (is_blank(line)) continue;
    try {
      require(line.size() <= max_bytes_, "{}", too_long(max_bytes_));
      line_.assign(line);
      json_.text_of(line_, text_);
    } catch (const Error& error) {
      counts_.bad.push_back({block.begin.file, number, error.what()});
      continue;
    }
    give(use);
  }
}

void BlockParser::parse_file(int64_t index, const std::function<void(std::string_view)>& use) {
  const InputFile file(files_[index].path);
  text_.resize(std::min<uint64_t>(file.size(), kSniffBytes));
  file.read(0, std::as_writable_bytes(std::span(text_)));
  if (text_.find('\0') != std::string::npos) {
    ++counts_.binary_files;
  } else if (file.size() > max_bytes_) {
    counts_.bad.push_back(
        {index, -1,
         fmt::format("{} bytes in one document, expected at most {}; put its documents into a "
                     ".jsonl file",
                     file.size(), max_bytes_)});
  } else {
    text_.resize(file.size());
    file.read(0, std::as_writable_bytes(std::span(text_)));
    give(use);
  }
}

void BlockParser::give(const std::function<void(std::string_view)>& use) {
  if (text_.empty()) {
    ++counts_.empty;
  } else {
    use(text_);
  }
  give_back_large(text_);
}

DocumentReader::DocumentReader(const std::vector<std::filesystem::path>& files,
                               DocumentOptions options)
    : files_(file_infos(files)), reader_(files_, options.max_bytes), parser_(files_, options) {}

bool DocumentReader::next(std::string& text) {
  for (InputBlock block; ready_.empty() && reader_.next(block);) {
    BlockCounts counts =
        parser_.parse(block, [this](std::string_view found) { ready_.emplace_back(found); });
    for (BadInput& bad : counts.bad) {
      if (bad.line >= 0) bad.line += counts_.lines;
      counts_.bad.push_back(std::move(bad));
    }
    counts_.lines += counts.lines;
    counts_.empty += counts.empty;
    counts_.binary_files += counts.binary_files;
  }
  if (ready_.empty()) return false;
  text = std::move(ready_.front());
  ready_.pop_front();
  return true;
}

}  // namespace midfill
