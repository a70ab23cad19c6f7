#include "src/data/byte_stream.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <vector>

#include "kernels/common/check.h"
#include "src/data/input_file.h"

namespace midfill {

namespace {

constexpr size_t kInputBytes = size_t{1} << 18;
constexpr int kMaxWindowLog = 27;  // 128 MiB, zstd's own limit without --long

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::string& path) : file_(path) {}
  size_t read(std::span<char> out) override {
    const size_t n = file_.read_some(at_, std::as_writable_bytes(out));
    at_ += n;
    return n;
  }
  uint64_t consumed() const override { return at_; }

 private:
  InputFile file_;
  uint64_t at_ = 0;
};

// What zstd and gzip share: a file is a chain of units (frames, members), each of which must be
// complete.
class CompressedStream : public ByteStream {
 public:
  CompressedStream(const std::string& path, const char* unit)
      : file_(path), unit_(unit), input_(kInputBytes) {
    require(file_.size() > 0, "{}: empty, expected a {}", path, unit_);
  }

  size_t read(std::span<char> out) override {
    for (;;) {
      if (next_ == end_) {
        next_ = 0;
        end_ = file_.read_some(at_, std::as_writable_bytes(std::span(input_)));
        at_ += end_;
      }
      const bool ended = end_ == 0;
      if (ended && !open_) return 0;
      const size_t n = decode(out);
      if (n > 0) return n;
      // With no input left an open unit may still give what it holds back, but not nothing.
      if (ended && open_)
        fail("{}: ends inside a {} at byte {}: the file is truncated", file_.path(), unit_, at_);
    }
  }
  uint64_t consumed() const override { return at_ - (end_ - next_); }

 protected:
  // Decodes from input_[next_, end_), moving next_ and setting open_; returns the bytes written.
  virtual size_t decode(std::span<char> out) = 0;

  [[noreturn]] void corrupt(const char* why) const {
    fail("{}: near byte {}: not a valid {}: {}", file_.path(), consumed(), unit_, why);
  }

  InputFile file_;
  const char* unit_;
  std::vector<char> input_;
  size_t next_ = 0, end_ = 0;
  uint64_t at_ = 0;    // file offset behind input_[end_)
  bool open_ = false;  // inside a unit
};

class ZstdStream : public CompressedStream {
 public:
  explicit ZstdStream(const std::string& path) : CompressedStream(path, "zstd frame") {
    require(context_ != nullptr, "{}: out of memory", path);
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  }

 private:
  size_t decode(std::span<char> out) override {
    ZSTD_inBuffer in{input_.data(), end_, next_};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const size_t left = ZSTD_decompressStream(context_.get(), &to, &in);
    next_ = in.pos;
    if (ZSTD_isError(left)) {
      const bool window = ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge;
      corrupt(window ? "its window is over 128 MiB; compress it again without --long"
                     : ZSTD_getErrorName(left));
    }
    open_ = left != 0;
    return to.pos;
  }

  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_{ZSTD_createDCtx()};
};

class GzipStream : public CompressedStream {
 public:
  explicit GzipStream(const std::string& path) : CompressedStream(path, "gzip member") {
    constexpr int kGzipOnly = 16;  // added to the window bits
    require(::inflateInit2(&state_, MAX_WBITS + kGzipOnly) == Z_OK, "{}: out of memory", path);
  }
  ~GzipStream() override { ::inflateEnd(&state_); }

 private:
  size_t decode(std::span<char> out) override {
    if (!open_) ::inflateReset(&state_);
    state_.next_in = reinterpret_cast<Bytef*>(input_.data() + next_);
    state_.avail_in = static_cast<uInt>(end_ - next_);
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = static_cast<uInt>(out.size());
    const int status = ::inflate(&state_, Z_NO_FLUSH);
    next_ = end_ - state_.avail_in;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      corrupt(state_.msg ? state_.msg : ::zError(status));
    open_ = status != Z_STREAM_END;
    return out.size() - state_.avail_out;
  }

  z_stream state_{};
};

}  // namespace

std::unique_ptr<ByteStream> open_stream(const std::string& path) {
  if (path.ends_with(".zst")) return std::make_unique<ZstdStream>(path);
  if (path.ends_with(".gz")) return std::make_unique<GzipStream>(path);
  return std::make_unique<PlainStream>(path);
}

}  // namespace midfill
