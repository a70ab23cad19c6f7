// Compressed files. The first byte chooses: the rest as a .gz, .zst, .xz or .bz2 file, however
// corrupt; or the rest compressed, with breaks between members, frames or streams where it has a
// NUL byte, to be read as it was, whether the name says that it is compressed or not. What is read
// does not depend on how much is asked for at a time.
#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <memory>
#include <optional>
#include <vector>

#include "src/data/byte_stream.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace midfill;

constexpr uint64_t kMemory = uint64_t{64} << 20;  // that a header may ask for
constexpr size_t kMostBytes = size_t{4} << 20;    // of a bomb: then it is given up

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

std::string xz_stream(std::string_view text) {
  std::string stream(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  const lzma_ret status = lzma_easy_buffer_encode(
      0, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const uint8_t*>(text.data()), text.size(),
      reinterpret_cast<uint8_t*>(stream.data()), &size, stream.size());
  fuzz::expect(status == LZMA_OK, "xz: status {}", static_cast<int>(status));
  stream.resize(size);
  return stream;
}

std::string bzip2_stream(std::string_view text) {
  std::string copy(text), stream(text.size() + text.size() / 100 + 600, '\0');
  auto size = static_cast<unsigned>(stream.size());
  const int status = BZ2_bzBuffToBuffCompress(stream.data(), &size, copy.data(),
                                              static_cast<unsigned>(copy.size()), 1, 0, 0);
  fuzz::expect(status == BZ_OK, "bzip2: status {}", status);
  stream.resize(size);
  return stream;
}

struct Form {
  const char* name;
  std::string (*compress)(std::string_view);
};
constexpr Form kForms[] = {
    {"f.gz", gzip_member}, {"f.zst", zstd_frame}, {"f.xz", xz_stream}, {"f.bz2", bzip2_stream}};

// All that the file holds, read `step` bytes at a time; nothing where it is refused.
std::optional<std::string> contents(const std::string& path, size_t step) {
  std::string all;
  std::vector<char> chunk(step);
  const bool good = fuzz::works([&] {
    const std::unique_ptr<ByteStream> stream = open_stream(path, kMemory);
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
  const Form& form = kForms[(choice & 1) | (choice & 4) >> 1];
  const bool round_trip = choice & 2, named = !(choice & 8), zeros_between = choice & 16;
  std::string file, text;
  if (round_trip) {
    do {
      const std::string_view unit = input.until('\0');
      if (zeros_between && !file.empty()) file.append(1 + unit.size() % 9, '\0');
      file += form.compress(unit);
      text += unit;
    } while (!input.empty());
  } else {
    file = input.rest();
  }
  const std::string path = fuzz::scratch_file(named ? form.name : "f", file);
  const auto large = contents(path, size_t{1} << 16), small = contents(path, 1000);
  fuzz::expect(large == small, "what is read depends on how much is asked for");
  fuzz::expect(!round_trip || large == text, "{} bytes come back as {}", text.size(),
               large ? std::to_string(large->size()) : "an Error");
  return 0;
}
