// Documents out of input files: one thread cuts the files into blocks, others take the documents
// out of them. docs/data-format.md says how a file is read; what decides, in this order:
//   its first bytes   whether it is compressed, and how; what is no text at all (foreign_format.h)
//   its name          without the ending of compression, in letters of any case: .jsonl, .ndjson,
//                     .jsonlines, .json-lines, .ldjson hold an object a line, whose text key is a
//                     document
//   its first line    where the name ends in .json or says nothing (no ending, or one with a digit
//                     in it): an object with the text key makes it such a file of lines
//   else              the whole file is the document; a NUL byte in its first 8 KiB makes it binary
// So how a file is read depends on its name, its contents and the options alone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/check.h"
#include "src/data/byte_stream.h"
#include "src/data/json_line.h"
#include "src/io/inputs.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct InputFileInfo {
  std::string path;    // "-": standard input, which holds lines
  uint64_t bytes = 0;  // as stored
  int64_t modified_ns = 0;
  bool named = true;  // by the user, himself or by a glob: then it is said where it is passed over

  bool is_standard_input() const { return path == "-"; }
  std::string name() const { return is_standard_input() ? kStandardInput : path; }
  bool is_as(const InputFileInfo& other) const {  // whoever named it
    return path == other.path && bytes == other.bytes && modified_ns == other.modified_ns;
  }
};

// Throws Error for a file that is not there.
std::vector<InputFileInfo> file_infos(const std::vector<InputPath>& paths);
// What list_inputs() finds; or, where `inputs` is "-" alone, standard input.
std::vector<InputFileInfo> input_files(const std::vector<std::string>& inputs,
                                       const std::vector<std::string>& include,
                                       const std::vector<std::string>& exclude);

struct DocumentOptions {
  std::string text_key = "text";
  uint64_t max_bytes = uint64_t{1} << 30;  // of a line or a text file; longer ones are bad input
};

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
// lines in corrupt compression, for a file that cannot be read, and for standard input that holds
// no lines.
class BlockReader {
 public:
  static constexpr size_t kBlockBytes = size_t{1} << 20;

  // From `from` on, which is the end of a block of an earlier reader. A line of more than
  // options.max_bytes is passed over without being held in memory. `stop` as open_standard_input
  // takes it.
  BlockReader(const std::vector<InputFileInfo>& files, const DocumentOptions& options,
              InputPosition from = {}, std::function<bool()> stop = nullptr);

  bool next(InputBlock& block);  // false at the end

 private:
  bool holds_lines();
  bool begins_with_document();
  void open_at(uint64_t offset);
  void read_lines(InputBlock& block);
  bool read_more(std::string& text);
  void end_file();

  const std::vector<InputFileInfo>& files_;
  uint64_t max_bytes_;
  std::function<bool()> stop_;
  JsonLine json_;
  InputPosition at_;                    // the next block begins here
  uint64_t bytes_behind_ = 0;           // of the files that are finished, as stored
  bool is_text_ = false;                // the file that at_ is in: known to hold no lines
  std::unique_ptr<ByteStream> stream_;  // of a file of lines
  std::string carry_;                   // of stream_, behind at_: what was read ahead
};

// What is to be said about a line, or about a whole file.
struct InputNote {
  int64_t file = 0;
  int64_t line = 0;  // of the block, from 0; -1: the whole file
  std::string what;
};

struct BlockCounts {
  int64_t lines = 0;  // in the block
  int64_t empty = 0;  // documents passed over
  int64_t binary_files = 0;
  std::vector<InputNote> bad = {};          // in order
  std::vector<InputNote> passed_over = {};  // binary files that the user named
  std::vector<InputNote> doubts = {};       // text files that look like lines
};

// "FILE: line 7: what", for a block that begins behind so many lines of its file.
std::string message_of(const std::vector<InputFileInfo>& files, const InputNote& note,
                       int64_t lines_before);

// What reading is to do about what it finds.
struct InputReports {
  bool strict = false;  // the first bad line, and a binary file that the user named, is an Error
  std::function<void(const std::string&)> on_bad = nullptr;   // "FILE: line N: what", in order
  std::function<void(const std::string&)> on_note = nullptr;  // what else a user must know
};
void report(const std::vector<InputFileInfo>& files, const BlockCounts& read, int64_t lines_before,
            const InputReports& reports);

// Takes the documents out of blocks; one object a thread.
class BlockParser {
 public:
  BlockParser(const std::vector<InputFileInfo>& files, const DocumentOptions& options)
      : files_(files),
        text_key_(options.text_key),
        max_bytes_(options.max_bytes),
        json_(options.text_key) {}

  // Calls use(text) for each document that is not empty, in order, and passes over what is bad.
  // From lines the text is valid UTF-8, from a text file it is its bytes. Throws Error for a text
  // file that cannot be read, and what `use` throws, a TextError aside: then the document is bad.
  using Use = std::function<void(std::string_view)>;
  BlockCounts parse(const InputBlock& block, const Use& use);

 private:
  void parse_lines(const InputBlock& block, const Use& use);
  void parse_file(int64_t file, const Use& use);
  bool read_text(ByteStream& stream, size_t size);
  void refuse_binary(int64_t file, const std::string& what);
  std::string fault_of(std::string_view json);
  bool looks_right(int64_t file);
  void give(int64_t file, int64_t line, const Use& use);

  const std::vector<InputFileInfo>& files_;
  std::string text_key_;
  uint64_t max_bytes_;
  JsonLine json_;
  BlockCounts counts_;
  std::string line_, text_;
};

// The documents of files one after the other, in one thread.
class DocumentReader {
 public:
  DocumentReader(const std::vector<InputPath>& files, DocumentOptions options = {});

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
