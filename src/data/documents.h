// Documents out of input files: one thread cuts the files into blocks, others take the documents
// out of them.
//   .jsonl, .jsonl.zst, .jsonl.gz   a JSON object a line; its text key is the document
//   any other file                  the whole file is the document; a file with a NUL byte in its
//                                   first 8 KiB is binary and passed over
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/data/byte_stream.h"
#include "src/data/json_line.h"

namespace midfill {

struct InputFileInfo {
  std::string path;    // "-": standard input, which holds lines
  uint64_t bytes = 0;  // as stored
  int64_t modified_ns = 0;

  bool is_standard_input() const { return path == "-"; }
  bool has_lines() const;
  std::string name() const { return is_standard_input() ? kStandardInput : path; }
  bool operator==(const InputFileInfo&) const = default;
};

// Throws Error for a file that is not there.
std::vector<InputFileInfo> file_infos(const std::vector<std::filesystem::path>& paths);

// Where in a list of files: byte `offset` of the file's content, decompressed.
struct InputPosition {
  int64_t file = 0;
  uint64_t offset = 0;
  bool operator==(const InputPosition&) const = default;
};

// Whole lines of one file, or a few text files that are still to be read.
struct InputBlock {
  InputPosition begin, end;  // end.offset is 0 where the block ends its file
  std::string lines;
  bool line_too_long = false;  // instead of `lines`: one line longer than the limit
  int64_t text_files = 0;      // how many, from begin.file on; 0: lines
  uint64_t bytes_done = 0;     // of the input, as stored, once this block is read

  // What it keeps in memory, in bytes.
  size_t cost(const std::vector<InputFileInfo>& files) const;
};

// Cuts the input into blocks of about a MiB, in order. Throws Error naming file and offset for
// corrupt compression and for a file that cannot be read.
class BlockReader {
 public:
  static constexpr size_t kBlockBytes = size_t{1} << 20;

  // From `from` on, which is the end of a block of an earlier reader. A line of more than
  // `max_bytes` is passed over without being held in memory. `open` opens a file of lines.
  using Open = std::function<std::unique_ptr<ByteStream>(const std::string& path)>;
  BlockReader(const std::vector<InputFileInfo>& files, uint64_t max_bytes, InputPosition from = {},
              Open open = open_stream);

  bool next(InputBlock& block);  // false at the end

 private:
  void open_at(uint64_t offset);
  void read_lines(InputBlock& block);
  bool read_more(std::string& text);
  void end_file();

  const std::vector<InputFileInfo>& files_;
  uint64_t max_bytes_;
  Open open_;
  InputPosition at_;           // the next block begins here
  uint64_t bytes_behind_ = 0;  // of the files that are finished, as stored
  std::unique_ptr<ByteStream> stream_;
  std::string carry_;  // of stream_, behind at_: the begin of a line
};

// What is wrong with a line, or with a text file.
struct BadInput {
  int64_t file = 0;
  int64_t line = 0;  // of the block, from 0; -1: the whole file
  std::string what;
};

struct BlockCounts {
  int64_t lines = 0;  // in the block
  int64_t empty = 0;  // documents passed over
  int64_t binary_files = 0;
  std::vector<BadInput> bad = {};  // in order
};

struct DocumentOptions {
  std::string text_key = "text";
  uint64_t max_bytes = uint64_t{1} << 30;  // of a line or a text file; longer ones are bad input
};

// Takes the documents out of blocks; one object a thread.
class BlockParser {
 public:
  BlockParser(const std::vector<InputFileInfo>& files, const DocumentOptions& options)
      : files_(files), max_bytes_(options.max_bytes), json_(options.text_key) {}

  // Calls use(text) for each document that is not empty, in order, and passes over what is bad.
  // From lines the text is valid UTF-8, from a text file it is its bytes. Throws Error for a text
  // file that cannot be read.
  BlockCounts parse(const InputBlock& block, const std::function<void(std::string_view)>& use);

 private:
  void parse_lines(const InputBlock& block, const std::function<void(std::string_view)>& use);
  void parse_file(int64_t file, const std::function<void(std::string_view)>& use);
  void give(const std::function<void(std::string_view)>& use);

  const std::vector<InputFileInfo>& files_;
  uint64_t max_bytes_;
  JsonLine json_;
  BlockCounts counts_;
  std::string line_, text_;
};

// The documents of files one after the other, in one thread.
class DocumentReader {
 public:
  DocumentReader(const std::vector<std::filesystem::path>& files, DocumentOptions options = {});

  bool next(std::string& text);                          // false at the end
  const BlockCounts& counts() const { return counts_; }  // of the blocks that were read

 private:
  std::vector<InputFileInfo> files_;
  BlockReader reader_;
  BlockParser parser_;
  BlockCounts counts_;
  std::deque<std::string> ready_;  // of the block that was read last
};

}  // namespace midfill
