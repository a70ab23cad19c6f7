#include "src/data/documents.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "src/data/foreign_format.h"
#include "src/io/file.h"
#include "src/io/json.h"

namespace midfill {

namespace {

constexpr size_t kSniffBytes = 8192;  // where a NUL byte makes a file binary
constexpr int64_t kTextFiles = 256;   // of a block
constexpr size_t kReadBytes = size_t{1} << 18;
constexpr size_t kKeptBytes = size_t{4} << 20;  // a larger buffer is given back
constexpr std::string_view kBlanks = " \t\r";

bool is_blank(std::string_view line) {
  return line.find_first_not_of(kBlanks) == std::string_view::npos;
}

void give_back_large(std::string& buffer) {
  if (buffer.capacity() > kKeptBytes) std::string().swap(buffer);
}

std::string too_long(uint64_t max_bytes) {
  return fmt::format("longer than {} bytes", max_bytes);
}

// What decides how a file is read, by its name.
enum class Holds { lines, text, what_its_first_line_says };

Holds held_by_name(std::string_view path) {
  std::string name(without_compression_ending(path.substr(path.rfind('/') + 1)));
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  constexpr std::array kLines = {".jsonl", ".ndjson", ".jsonlines", ".json-lines", ".ldjson"};
  if (std::ranges::any_of(kLines, [&](const char* ending) { return name.ends_with(ending); }))
    return Holds::lines;
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0 || name.ends_with(".json") ||
      name.find_first_of("0123456789", dot) != std::string::npos)
    return Holds::what_its_first_line_says;
  return Holds::text;
}

// The first element of an array; empty where the text is none, or its element no object.
std::string_view first_object(std::string_view text) {
  const size_t open = text.find_first_not_of(" \t\r\n");
  if (open == std::string_view::npos || text[open] != '[') return {};
  const size_t begin = text.find_first_not_of(" \t\r\n", open + 1);
  if (begin == std::string_view::npos || text[begin] != '{') return {};
  int64_t depth = 0;
  bool in_string = false;
  for (size_t at = begin; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      at += c == '\\';
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else {
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
      if (depth == 0) return text.substr(begin, at + 1 - begin);
    }
  }
  return {};
}

// The first line of a text that is not blank.
std::string_view first_line(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  return text.substr(begin, text.find('\n', begin) - begin);
}

}  // namespace

std::vector<InputFileInfo> file_infos(const std::vector<InputPath>& paths) {
  std::vector<InputFileInfo> files;
  for (const auto& [path, named] : paths) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) fail_errno(path, "read");
    files.push_back(
        {.path = path.string(),
         .bytes = static_cast<uint64_t>(status.st_size),
         .modified_ns = status.st_mtim.tv_sec * int64_t{1'000'000'000} + status.st_mtim.tv_nsec,
         .named = named});
  }
  return files;
}

std::vector<InputFileInfo> input_files(const std::vector<std::string>& inputs,
                                       const std::vector<std::string>& include,
                                       const std::vector<std::string>& exclude) {
  if (inputs == std::vector<std::string>{"-"})
    return {{.path = "-", .bytes = 0, .modified_ns = 0, .named = true}};
  for (const std::string& input : inputs)
    require(input != "-", "--input -: standard input must be the only input");
  return file_infos(list_inputs(inputs, include, exclude));
}

size_t InputBlock::cost(const std::vector<InputFileInfo>& files) const {
  size_t bytes = lines.capacity();
  for (int64_t i = 0; i < text_files; ++i) bytes += files[begin.file + i].bytes;
  return bytes;
}

std::string message_of(const std::vector<InputFileInfo>& files, const InputNote& note,
                       int64_t lines_before) {
  const std::string place =
      note.line < 0 ? "" : fmt::format("line {}: ", lines_before + note.line + 1);
  return fmt::format("{}: {}{}", files[note.file].name(), place, note.what);
}

void report(const std::vector<InputFileInfo>& files, const BlockCounts& read, int64_t lines_before,
            const InputReports& reports) {
  const auto message = [&](const InputNote& note) { return message_of(files, note, lines_before); };
  if (reports.strict)
    for (const auto* notes : {&read.bad, &read.passed_over})
      if (!notes->empty()) fail("{}", message(notes->front()));
  if (reports.on_bad)
    for (const InputNote& bad : read.bad) reports.on_bad(message(bad));
  if (!reports.on_note) return;
  for (const InputNote& file : read.passed_over) reports.on_note("passed over: " + message(file));
  for (const InputNote& file : read.doubts) reports.on_note(message(file));
}

BlockReader::BlockReader(const std::vector<InputFileInfo>& files, const DocumentOptions& options,
                         InputPosition from, std::function<bool()> stop)
    : files_(files),
      max_bytes_(options.max_bytes),
      stop_(std::move(stop)),
      json_(options.text_key),
      at_(from) {
  for (int64_t i = 0; i < at_.file; ++i) bytes_behind_ += files_[i].bytes;
  if (at_.offset > 0) open_at(at_.offset);
}

void BlockReader::open_at(uint64_t offset) {
  const InputFileInfo& file = files_[at_.file];
  stream_ = file.is_standard_input() ? open_standard_input(stop_) : open_stream(file.path);
  std::vector<char> passed(std::min<uint64_t>(offset, kBlockBytes));
  for (uint64_t left = offset; left > 0;) {
    const size_t n =
        stream_->read(std::span(passed).first(std::min<uint64_t>(left, passed.size())));
    require(n > 0, "{}: ends at byte {}, expected more than {}: it was cut while in use", file.path,
            offset - left, offset);
    left -= n;
  }
}

// Of the file that at_ is in; then it is open.
bool BlockReader::holds_lines() {
  if (stream_) return true;
  if (is_text_) return false;
  const InputFileInfo& file = files_[at_.file];
  const Holds holds = file.is_standard_input() ? Holds::lines : held_by_name(file.path);
  is_text_ = holds == Holds::text;
  if (is_text_) return false;
  try {
    open_at(0);
    while (carry_.size() < kSniffBytes && read_more(carry_)) {
    }
    const std::string foreign = foreign_format(std::string_view(carry_).substr(0, kSniffBytes));
    require(foreign.empty() || !file.is_standard_input(), "{}: {}", file.name(), foreign);
    // The parser says what it is.
    is_text_ = !foreign.empty() || (holds != Holds::lines && !begins_with_document());
  } catch (const BadCompression&) {
    if (holds == Holds::lines) throw;
    is_text_ = true;  // and meets it again
  }
  if (is_text_) {
    stream_.reset();
    std::string().swap(carry_);
  }
  return !is_text_;
}

bool BlockReader::begins_with_document() {
  const auto found = [&] { return without_byte_order_mark(carry_).find_first_not_of(" \t\r\n"); };
  while (found() == std::string_view::npos && carry_.size() <= max_bytes_ && read_more(carry_)) {
  }
  const size_t begin = found();
  if (begin == std::string_view::npos || without_byte_order_mark(carry_)[begin] != '{')
    return false;
  for (size_t searched = begin; carry_.find('\n', searched) == std::string::npos;) {
    searched = carry_.size();
    if (carry_.size() > max_bytes_) return false;
    if (!read_more(carry_)) break;
  }
  std::string line(first_line(without_byte_order_mark(carry_))), text;
  try {
    json_.text_of(line, text);
  } catch (const Error&) {
    return false;
  }
  return true;
}

bool BlockReader::next(InputBlock& block) {
  const auto n_files = static_cast<int64_t>(files_.size());
  if (at_.file == n_files) return false;
  block = {};
  block.begin = at_;
  if (holds_lines()) {
    read_lines(block);
    block.bytes_done = bytes_behind_ + (stream_ ? stream_->consumed() : 0);
  } else {
    uint64_t bytes = 0;
    while (at_.file < n_files && block.text_files < kTextFiles && !holds_lines()) {
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
  is_text_ = false;
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

BlockCounts BlockParser::parse(const InputBlock& block, const Use& use) {
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

void BlockParser::parse_lines(const InputBlock& block, const Use& use) {
  std::string_view lines = block.lines;
  if (block.begin.offset == 0) lines = without_byte_order_mark(lines);
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
    give(block.begin.file, number, use);
  }
}

// Reads on until text_ has so many bytes; false where it ends before.
bool BlockParser::read_text(ByteStream& stream, size_t size) {
  size_t n = text_.size();
  text_.resize(std::max(n, size));
  while (n < size) {
    const size_t more = stream.read(std::span(text_).subspan(n));
    if (more == 0) break;
    n += more;
  }
  text_.resize(n);
  return n >= size;
}

void BlockParser::parse_file(int64_t index, const Use& use) {
  const InputFileInfo& file = files_[index];
  text_.clear();
  try {
    const auto stream = open_stream(file.path);
    bool more = read_text(*stream, kSniffBytes);
    const bool is_binary = text_.find('\0') != std::string::npos;
    const std::string foreign = foreign_format(text_);
    if (is_binary || !foreign.empty())
      return refuse_binary(index,
                           foreign.empty() ? "binary: a NUL byte in its first 8 KiB" : foreign);
    // One byte more than the file has, to see its end at once.
    if (more) more = read_text(*stream, std::min(file.bytes, max_bytes_) + 1);
    while (more && text_.size() <= max_bytes_)
      more = read_text(*stream, std::min<uint64_t>(2 * text_.size(), max_bytes_ + 1));
  } catch (const BadCompression& error) {
    counts_.bad.push_back({index, -1, error.without_file()});
    return;
  }
  if (text_.size() > max_bytes_) {
    counts_.bad.push_back({index, -1,
                           fmt::format("more than {} bytes in one document; put its documents into "
                                       "a .jsonl file",
                                       max_bytes_)});
    give_back_large(text_);
  } else if (looks_right(index)) {
    give(index, -1, use);
  }
}

void BlockParser::refuse_binary(int64_t index, const std::string& what) {
  const InputFileInfo& file = files_[index];
  if (held_by_name(file.path) == Holds::lines) {
    counts_.bad.push_back({index, -1, fmt::format("{}, expected lines of JSON", what)});
    return;
  }
  ++counts_.binary_files;
  if (file.named) counts_.passed_over.push_back({index, -1, what});
}

// What keeps a piece of JSON from being a document; empty where nothing does.
std::string BlockParser::fault_of(std::string_view json) {
  std::string text;
  line_.assign(json);
  try {
    json_.text_of(line_, text);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// Whether text_, which the reader takes for one text, is to be read as one. A list of documents in
// another form than lines is not; what may be lines under another name is said of files that the
// user named.
bool BlockParser::looks_right(int64_t index) {
  const std::string_view text = without_byte_order_mark(text_);
  const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  const std::string_view front = text.substr(begin, 1);
  const bool by_name = held_by_name(files_[index].path) == Holds::text;
  const auto doubt = [&](const std::string& why) {
    counts_.doubts.push_back({index, -1, "read as one text: " + why});
  };
  if (front == "[" && (!by_name || files_[index].named)) {
    const std::string_view first = first_object(text);
    if (first.empty() || !fault_of(first).empty()) return true;
    const std::string what = fmt::format(
        "an array of objects with \"{}\", expected an object a line: jq -c '.[]' writes them so",
        text_key_);
    if (!by_name) {
      counts_.bad.push_back({index, -1, what});
      return false;
    }
    doubt("it looks like " + what);
  } else if (front == "{" && files_[index].named) {
    const std::string_view line = first_line(text);
    const std::string fault = fault_of(line);
    if (fault.empty()) {
      doubt(
          fmt::format("its name says so, though its first line is an object with \"{}\"; lines "
                      "are read from files named .jsonl",
                      text_key_));
    } else if (first_line(text.substr(begin + line.size())).starts_with('{') &&
               json_error(line).empty()) {
      doubt(fmt::format("it looks like lines of JSON, but in its first line: {}", fault));
    }
  }
  return true;
}

void BlockParser::give(int64_t file, int64_t line, const Use& use) {
  if (text_.empty()) {
    ++counts_.empty;
  } else {
    try {
      use(text_);
    } catch (const TextError& error) {
      counts_.bad.push_back({file, line, fmt::format("cannot be tokenised: {}", error.what())});
    }
  }
  give_back_large(text_);
}

DocumentReader::DocumentReader(const std::vector<InputPath>& files, DocumentOptions options)
    : files_(file_infos(files)), reader_(files_, options), parser_(files_, options) {}

bool DocumentReader::next(std::string& text) {
  for (InputBlock block; ready_.empty() && reader_.next(block);) {
    BlockCounts counts =
        parser_.parse(block, [this](std::string_view found) { ready_.emplace_back(found); });
    for (InputNote& bad : counts.bad) {
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
