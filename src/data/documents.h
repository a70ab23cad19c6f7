// Documents out of input files, one after the other, in memory bounded by the largest of them.
//   .jsonl, .jsonl.zst, .jsonl.gz   a JSON object a line; its text key is the document
//   any other file                  the whole file is the document; a file with a NUL byte in its
//                                   first 8 KiB is binary and passed over
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/data/byte_stream.h"
#include "src/data/json_line.h"

namespace midfill {

struct DocumentOptions {
  std::string text_key = "text";
  uint64_t max_bytes = uint64_t{1} << 30;  // of a line or a text file; more is an Error
  // Called with what is wrong with a line that is passed over. Unset: such a line is an Error.
  std::function<void(const std::string&)> on_bad_line = nullptr;
};

struct DocumentCounts {
  int64_t documents = 0;  // given out
  int64_t empty = 0;      // passed over
  int64_t bad_lines = 0;
  int64_t binary_files = 0;
};

class DocumentReader {
 public:
  DocumentReader(const std::vector<std::filesystem::path>& files, DocumentOptions options);

  // The next document that is not empty; false at the end. From JSONL the text is valid UTF-8, from
  // a text file it is its bytes. Throws Error naming file and line (or offset) for a line that is
  // no JSON object with a string under the text key, for corrupt compression, for a file that
  // cannot be read.
  bool next(std::string& text);

  const DocumentCounts& counts() const { return counts_; }
  // Bytes of the files, as stored: behind, and in all.
  uint64_t bytes_done() const;
  uint64_t bytes_total() const { return bytes_total_; }

 private:
  bool next_line();
  bool next_json(std::string& text);
  bool read_text_file(const std::string& path, std::string& text);

  std::vector<std::string> files_;
  std::vector<uint64_t> sizes_;
  DocumentOptions options_;
  DocumentCounts counts_;
  uint64_t bytes_total_ = 0, bytes_behind_ = 0;  // behind: of the files that are finished
  size_t file_ = 0;                              // the file to open next

  std::unique_ptr<ByteStream> stream_;  // of the JSONL file that is open
  std::vector<char> chunk_;             // read from it: [chunk_at_, chunk_end_) is still to do
  size_t chunk_at_ = 0, chunk_end_ = 0;
  std::string line_;
  int64_t line_number_ = 0;
  JsonLine json_;
};

}  // namespace midfill
