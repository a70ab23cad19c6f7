#include "src/data/foreign_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace midfill {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kRows = "write its rows as lines of JSON";
constexpr std::string_view kPages = "write its text into a file of UTF-8";
constexpr std::string_view kFiles = "unpack it";
constexpr std::string_view kStored = "decompress it";
constexpr std::string_view kUtf16 = "iconv -f UTF-16 -t UTF-8 makes it readable";
constexpr std::string_view kUtf32 = "iconv -f UTF-32 -t UTF-8 makes it readable";

struct Format {
  size_t offset;
  std::string_view magic, what, remedy;
};

// Longer magic before shorter: the mark of UTF-32 begins as that of UTF-16.
constexpr std::array kFormats = {
    Format{0, "PAR1"sv, "a Parquet file", kRows},
    Format{0, "ARROW1"sv, "an Arrow file", kRows},
    Format{0, "\xff\xff\xff\xff"sv, "an Arrow stream", kRows},
    Format{0, "FEA1"sv, "a Feather file", kRows},
    Format{0, "Obj\x01"sv, "an Avro file", kRows},
    Format{0, "ORC"sv, "an ORC file", kRows},
    Format{0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file", kRows},
    Format{0, "SQLite format 3"sv, "an SQLite database", kRows},
    Format{0, "%PDF-"sv, "a PDF document", kPages},
    Format{257, "ustar"sv, "a tar archive", kFiles},
    Format{0, "PK\x03\x04"sv, "a zip archive", kFiles},
    Format{0, "PK\x05\x06"sv, "an empty zip archive", kFiles},
    Format{0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive", kFiles},
    Format{0, "Rar!\x1a\x07"sv, "a RAR archive", kFiles},
    Format{0, "\x04\x22\x4d\x18"sv, "compressed by lz4", kStored},
    Format{0, "LZIP\x01"sv, "compressed by lzip", kStored},
    Format{0, "\x1f\x9d"sv, "compressed by compress", kStored},
    Format{0, "\xff\xfe\0\0"sv, "UTF-32 text", kUtf32},
    Format{0, "\0\0\xfe\xff"sv, "UTF-32 text", kUtf32},
    Format{0, "\xff\xfe"sv, "UTF-16 text", kUtf16},
    Format{0, "\xfe\xff"sv, "UTF-16 text", kUtf16},
};

// Of what begins so and has no NUL byte.
bool could_be_text(std::string_view magic) {
  return magic.size() <= 2 ||
         std::ranges::all_of(magic, [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::string foreign_format(std::string_view first_bytes) {
  const bool no_text = first_bytes.find('\0') != std::string_view::npos;
  for (const Format& format : kFormats)
    if (first_bytes.size() >= format.offset &&
        first_bytes.substr(format.offset).starts_with(format.magic) &&
        (no_text || !could_be_text(format.magic)))
      return fmt::format("{}; {}", format.what, format.remedy);
  return {};
}

}  // namespace midfill
