#include "src/data/byte_stream.h"

#include <bzlib.h>
#include <lzma.h>
#include <poll.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "src/data/input_file.h"
#include "src/io/file.h"
#include "src/io/units.h"

namespace midfill {

namespace {

constexpr size_t kInputBytes = size_t{1} << 18;
constexpr size_t kMagicBytes = 10;
constexpr int kPollMilliseconds = 200;

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::string& path) : file_(path) {}
  size_t read(std::span<char> out) override {
    const size_t n = file_.read_some(at_, std::as_writable_bytes(out));
    at_ += n;
    require(n > 0 || out.empty() || at_ >= file_.size(),
            "{}: ends at byte {}, expected {} bytes; was it cut while in use?", file_.path(), at_,
            file_.size());
    return n;
  }
  uint64_t consumed() const override { return at_; }

  std::string front() const {
    std::string bytes(kMagicBytes, '\0');
    bytes.resize(file_.read_some(0, std::as_writable_bytes(std::span(bytes))));
    return bytes;
  }

 private:
  InputFile file_;
  uint64_t at_ = 0;
};

class StandardInput : public ByteStream {
 public:
  explicit StandardInput(std::function<bool()> stop) : stop_(std::move(stop)) {
    // The bytes that tell compression apart stay in front of the rest.
    while (front_.size() < kMagicBytes) {
      char more[kMagicBytes];
      const size_t n = read_some(std::span(more).first(kMagicBytes - front_.size()));
      if (n == 0) break;
      front_.append(more, n);
    }
  }
  const std::string& front() const { return front_; }

  size_t read(std::span<char> out) override {
    if (at_ < front_.size()) {
      const size_t n = std::min<size_t>(out.size(), front_.size() - at_);
      std::copy_n(front_.data() + at_, n, out.data());
      at_ += n;
      return n;
    }
    const size_t n = read_some(out);
    at_ += n;
    return n;
  }
  uint64_t consumed() const override { return at_; }

 private:
  size_t read_some(std::span<char> out) {
    for (;;) {
      pollfd wait{STDIN_FILENO, POLLIN, 0};
      const int ready = ::poll(&wait, 1, kPollMilliseconds);
      if (stop_ && stop_()) return 0;
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      const ssize_t n = ::read(STDIN_FILENO, out.data(), out.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n < 0) fail_errno(kStandardInput, "read");
      return static_cast<size_t>(n);
    }
  }

  std::function<bool()> stop_;
  std::string front_;
  uint64_t at_ = 0;
};

// What the compressions share: a file is a chain of units (frames, members, streams), each of which
// must be complete, with zero bytes between and behind them at most.
class CompressedStream : public ByteStream {
 public:
  CompressedStream(std::unique_ptr<ByteStream> stored, const std::string& name, const char* unit)
      : stored_(std::move(stored)), name_(name), unit_(unit), input_(kInputBytes) {
    end_ = stored_->read(input_);
    if (end_ == 0) bad(fmt::format("empty, expected {}", a_unit()));
  }

  size_t read(std::span<char> out) override {
    if (out.empty()) return 0;
    for (;;) {
      if (!open_ && units_ > 0)
        while (next_ < end_ && input_[next_] == '\0') ++next_;
      if (next_ == end_) {
        next_ = 0;
        end_ = stored_->read(input_);
        if (end_ > 0 && !open_) continue;  // to pass over zero bytes
      }
      const bool ended = end_ == 0;
      if (ended && !open_) return 0;
      if (!open_) {
        if (!may_begin_with(input_[next_])) corrupt("it does not begin like one");
        begin_unit();
        open_ = true;
      }
      const size_t n = decode(out);
      unit_bytes_ += n;
      if (!open_) {
        ++units_;
        unit_bytes_ = 0;
      }
      if (n > 0) return n;
      // With no input left an open unit may still give what it holds back, but not nothing.
      if (ended && open_)
        bad(fmt::format("ends inside {} at byte {}: the file is truncated", a_unit(), consumed()));
    }
  }
  uint64_t consumed() const override { return stored_->consumed() - (end_ - next_); }

 protected:
  virtual bool may_begin_with(char first) const = 0;
  virtual void begin_unit() = 0;
  // Decodes from input_[next_, end_), moving next_, and ends the unit by open_ = false; returns the
  // bytes written.
  virtual size_t decode(std::span<char> out) = 0;

  std::string a_unit() const { return fmt::format("{} {}", *unit_ == 'x' ? "an" : "a", unit_); }
  [[noreturn]] void bad(const std::string& what) const { throw BadCompression(name_, what); }
  [[noreturn]] void corrupt(std::string_view why) const {
    if (units_ > 0 && unit_bytes_ == 0)
      bad(fmt::format("near byte {}: behind a whole {} stands something else: {}", consumed(),
                      unit_, why));
    bad(fmt::format("near byte {}: not a valid {}: {}", consumed(), unit_, why));
  }
  // `needed`: 0 where it is not known. `tool` writes the contents to a pipe.
  [[noreturn]] void too_much_memory(uint64_t needed, const char* tool) const {
    bad(fmt::format(
        "near byte {}: this {} needs {} of memory to be decompressed, more than is "
        "allowed or there; where there is enough, {} FILE | midfill ... --input -",
        consumed(), unit_,
        needed == 0 ? "an unknown amount" : bytes_text(static_cast<int64_t>(needed)), tool));
  }

  std::unique_ptr<ByteStream> stored_;
  std::string name_;
  const char* unit_;
  std::vector<char> input_;
  size_t next_ = 0, end_ = 0;  // input_[next_, end_) is still to do
  bool open_ = false;          // inside a unit

 private:
  uint64_t units_ = 0;       // behind
  uint64_t unit_bytes_ = 0;  // that this unit gave
};

class ZstdStream : public CompressedStream {
 public:
  ZstdStream(std::unique_ptr<ByteStream> stored, const std::string& name, uint64_t memory)
      : CompressedStream(std::move(stored), name, "zstd frame") {
    if (context_ == nullptr) too_much_memory(0, "zstd -dc --long=31");
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax,
                           std::min(static_cast<int>(std::bit_width(memory)) - 1,
                                    ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound));
  }

 private:
  bool may_begin_with(char first) const override {
    return first == '\x28' || (first & 0xf0) == 0x50;
  }
  void begin_unit() override {
    window_ = window_of(std::span(input_).subspan(next_, end_ - next_));
  }

  // By the frame's header (RFC 8878, 3.1.1.1); 0 where it is cut, skippable, or has no window.
  static uint64_t window_of(std::span<const char> frame) {
    constexpr size_t kDescriptor = 4, kWindow = 5;
    constexpr unsigned kSingleSegment = 0x20;
    if (frame.size() <= kWindow || (static_cast<unsigned char>(frame[0]) != 0x28) ||
        (static_cast<unsigned char>(frame[kDescriptor]) & kSingleSegment))
      return 0;
    const auto window = static_cast<unsigned char>(frame[kWindow]);
    const uint64_t base = uint64_t{1} << (10 + (window >> 3));
    return base + base / 8 * (window & 7u);
  }

  size_t decode(std::span<char> out) override {
    ZSTD_inBuffer in{input_.data(), end_, next_};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const size_t left = ZSTD_decompressStream(context_.get(), &to, &in);
    next_ = in.pos;
    if (ZSTD_isError(left)) {
      const ZSTD_ErrorCode code = ZSTD_getErrorCode(left);
      if (code == ZSTD_error_frameParameter_windowTooLarge || code == ZSTD_error_memory_allocation)
        too_much_memory(window_, "zstd -dc --long=31");
      corrupt(ZSTD_getErrorName(left));
    }
    open_ = left != 0;
    return to.pos;
  }

  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_{ZSTD_createDCtx()};
  uint64_t window_ = 0;  // of this frame
};

class GzipStream : public CompressedStream {
 public:
  GzipStream(std::unique_ptr<ByteStream> stored, const std::string& name)
      : CompressedStream(std::move(stored), name, "gzip member") {
    constexpr int kGzipOnly = 16;  // added to the window bits
    if (::inflateInit2(&state_, MAX_WBITS + kGzipOnly) != Z_OK) too_much_memory(0, "gzip -dc");
  }
  ~GzipStream() override { ::inflateEnd(&state_); }

 private:
  bool may_begin_with(char first) const override { return first == '\x1f'; }
  void begin_unit() override { ::inflateReset(&state_); }

  size_t decode(std::span<char> out) override {
    state_.next_in = reinterpret_cast<Bytef*>(input_.data() + next_);
    state_.avail_in = static_cast<uInt>(end_ - next_);
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = static_cast<uInt>(out.size());
    const int status = ::inflate(&state_, Z_NO_FLUSH);
    next_ = end_ - state_.avail_in;
    if (status == Z_MEM_ERROR) too_much_memory(0, "gzip -dc");
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      corrupt(state_.msg ? state_.msg : ::zError(status));
    open_ = status != Z_STREAM_END;
    return out.size() - state_.avail_out;
  }

  z_stream state_{};
};

class XzStream : public CompressedStream {
 public:
  XzStream(std::unique_ptr<ByteStream> stored, const std::string& name, uint64_t memory)
      : CompressedStream(std::move(stored), name, "xz stream"), memory_(memory) {}
  ~XzStream() override { ::lzma_end(&state_); }

 private:
  bool may_begin_with(char first) const override { return first == '\xfd'; }
  void begin_unit() override {
    if (::lzma_stream_decoder(&state_, memory_, 0) != LZMA_OK) too_much_memory(0, "xz -dc");
  }

  size_t decode(std::span<char> out) override {
    state_.next_in = reinterpret_cast<const uint8_t*>(input_.data() + next_);
    state_.avail_in = end_ - next_;
    state_.next_out = reinterpret_cast<uint8_t*>(out.data());
    state_.avail_out = out.size();
    const lzma_ret status = ::lzma_code(&state_, LZMA_RUN);
    next_ = end_ - state_.avail_in;
    if (status == LZMA_MEMLIMIT_ERROR) too_much_memory(::lzma_memusage(&state_), "xz -dc");
    if (status == LZMA_MEM_ERROR) too_much_memory(0, "xz -dc");
    if (status != LZMA_OK && status != LZMA_STREAM_END && status != LZMA_BUF_ERROR)
      corrupt(status == LZMA_FORMAT_ERROR    ? "it does not begin like one"
              : status == LZMA_OPTIONS_ERROR ? "it asks for what this liblzma does not know"
                                             : "its data are corrupt");
    open_ = status != LZMA_STREAM_END;
    return out.size() - state_.avail_out;
  }

  uint64_t memory_;
  lzma_stream state_ = LZMA_STREAM_INIT;
};

class Bzip2Stream : public CompressedStream {
 public:
  Bzip2Stream(std::unique_ptr<ByteStream> stored, const std::string& name)
      : CompressedStream(std::move(stored), name, "bzip2 stream") {}
  ~Bzip2Stream() override { ::BZ2_bzDecompressEnd(&state_); }

 private:
  bool may_begin_with(char first) const override { return first == 'B'; }
  void begin_unit() override {
    ::BZ2_bzDecompressEnd(&state_);
    state_ = {};
    if (::BZ2_bzDecompressInit(&state_, 0, 0) != BZ_OK) too_much_memory(0, "bzip2 -dc");
  }

  size_t decode(std::span<char> out) override {
    state_.next_in = input_.data() + next_;
    state_.avail_in = static_cast<unsigned>(end_ - next_);
    state_.next_out = out.data();
    state_.avail_out = static_cast<unsigned>(out.size());
    const int status = ::BZ2_bzDecompress(&state_);
    next_ = end_ - state_.avail_in;
    if (status == BZ_MEM_ERROR) too_much_memory(0, "bzip2 -dc");
    if (status != BZ_OK && status != BZ_STREAM_END)
      corrupt(status == BZ_DATA_ERROR_MAGIC ? "it does not begin like one"
                                            : "its data are corrupt");
    open_ = status != BZ_STREAM_END;
    return out.size() - state_.avail_out;
  }

  bz_stream state_{};
};

enum class Compression { none, gzip, zstd, xz, bzip2 };

Compression compression_of(std::string_view front) {
  using namespace std::string_view_literals;
  if (front.starts_with("\x1f\x8b\x08"sv)) return Compression::gzip;
  if (front.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
  // A frame that is to be passed over.
  if (front.size() >= 4 && front.substr(1).starts_with("\x2a\x4d\x18"sv) &&
      (front[0] & 0xf0) == 0x50)
    return Compression::zstd;
  if (front.starts_with("\xfd"
                        "7zXZ\0"sv))
    return Compression::xz;
  // "BZh1" alone may begin a text: behind it comes a block, or the end.
  if (front.starts_with("BZh"sv) && front.size() >= 10 && front[3] >= '1' && front[3] <= '9' &&
      (front.substr(4) == "\x31\x41\x59\x26\x53\x59"sv ||
       front.substr(4) == "\x17\x72\x45\x38\x50\x90"sv))
    return Compression::bzip2;
  return Compression::none;
}

struct Ending {
  std::string_view text;
  Compression compression;
};
constexpr std::array<Ending, 5> kEndings = {{{".gz", Compression::gzip},
                                             {".zst", Compression::zstd},
                                             {".zstd", Compression::zstd},
                                             {".xz", Compression::xz},
                                             {".bz2", Compression::bzip2}}};

const Ending* ending_of(std::string_view name) {
  const auto equal = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; };
  const auto* at = std::ranges::find_if(kEndings, [&](const Ending& ending) {
    return name.size() > ending.text.size() &&
           std::ranges::equal(name.substr(name.size() - ending.text.size()), ending.text, equal);
  });
  return at == kEndings.end() ? nullptr : at;
}

std::unique_ptr<ByteStream> decompressed(Compression compression,
                                         std::unique_ptr<ByteStream> stored,
                                         const std::string& name, uint64_t memory) {
  switch (compression) {
    case Compression::gzip:
      return std::make_unique<GzipStream>(std::move(stored), name);
    case Compression::zstd:
      return std::make_unique<ZstdStream>(std::move(stored), name, memory);
    case Compression::xz:
      return std::make_unique<XzStream>(std::move(stored), name, memory);
    case Compression::bzip2:
      return std::make_unique<Bzip2Stream>(std::move(stored), name);
    case Compression::none:
      break;
  }
  return stored;
}

}  // namespace

std::string_view without_compression_ending(std::string_view name) {
  const Ending* ending = ending_of(name);
  return ending ? name.substr(0, name.size() - ending->text.size()) : name;
}

std::unique_ptr<ByteStream> open_stream(const std::string& path, uint64_t memory) {
  auto stored = std::make_unique<PlainStream>(path);
  Compression compression = compression_of(stored->front());
  const Ending* ending = ending_of(path);
  if (compression == Compression::none && ending) compression = ending->compression;
  return decompressed(compression, std::move(stored), path, memory);
}

std::unique_ptr<ByteStream> open_standard_input(std::function<bool()> stop) {
  auto stored = std::make_unique<StandardInput>(std::move(stop));
  const Compression compression = compression_of(stored->front());
  return decompressed(compression, std::move(stored), kStandardInput, kDecompressionMemory);
}

}  // namespace midfill
