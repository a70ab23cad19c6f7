// Compressed files. The first byte chooses: the rest as a .zst or a .gz file, however corrupt; or
// the rest compressed, with breaks between frames or members where it has a NUL byte, to be read as
// it was. What is read does not depend on how much is asked for at a time.
#include <zlib.h>
#include <zstd.h>

#include <memory>
#include <optional>
#include <vector>

#include "src/data/byte_stream.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace midfill;

constexpr size_t kMostBytes = size_t{4} << 20;  // of a bomb: then it is given up

std::string zstd_frame(std::string_view text) {
  std::string frame(ZSTD_compressBound(text.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), text.data(), text.size(), 1));
  return frame;
}

std::string gzip_member(std::string_view text) {
  constexpr int kGzip = 16;  // added to the window bits
  z_stream state{};
  deflateInit2(&state, 1, Z_DEFLATED, MAX_WBITS + kGzip, 8, Z_DEFAULT_STRATEGY);
  std::string member(deflateBound(&state, text.size()), '\0');
  std::string copy(text);
  state.next_in = reinterpret_cast<Bytef*>(copy.data());
  state.avail_in = static_cast<uInt>(copy.size());
  state.next_out = reinterpret_cast<Bytef*>(member.data());
  state.avail_out = static_cast<uInt>(member.size());
  deflate(&state, Z_FINISH);
  member.resize(state.total_out);
  deflateEnd(&state);
  return member;
}

// All that the file holds, read `step` bytes at a time; nothing where it is refused.
std::optional<std::string> contents(const std::string& path, size_t step) {
  std::string all;
  std::vector<char> chunk(step);
  const bool good = fuzz::works([&] {
    const std::unique_ptr<ByteStream> stream = open_stream(path);
    while (const size_t n = stream->read(chunk)) {
      fuzz::expect(n <= chunk.size(), "{} bytes read into {}", n, chunk.size());
      all.append(chunk.data(), n);
      if (all.size() >= kMostBytes) break;
    }
  });
  if (!good) return std::nullopt;
  all.resize(std::min(all.size(), kMostBytes));
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const uint8_t choice = input.byte();
  const bool zstd = choice & 1, round_trip = choice & 2;
  std::string file, text;
  if (round_trip) {
    do {
      const std::string_view unit = input.until('\0');
      file += zstd ? zstd_frame(unit) : gzip_member(unit);
      text += unit;
    } while (!input.empty());
  } else {
    file = input.rest();
  }
  const std::string path = fuzz::scratch_file(zstd ? "f.zst" : "f.gz", file);
  const auto large = contents(path, size_t{1} << 16), small = contents(path, 1000);
  fuzz::expect(large == small, "what is read depends on how much is asked for");
  fuzz::expect(!round_trip || large == text, "{} bytes come back as {}", text.size(),
               large ? std::to_string(large->size()) : "an Error");
  return 0;
}
