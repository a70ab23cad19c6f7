#include "src/data/byte_stream.h"

#include <poll.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "kernels/common/check.h"
#include "src/data/input_file.h"
#include "src/io/file.h"

namespace midfill {

namespace {

constexpr size_t kInputBytes = size_t{1} << 18;
constexpr size_t kMagicBytes = 4;
constexpr int kPollMilliseconds = 200;
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

// What zstd and gzip share: a file is a chain of units (frames, members), each of which must be
// complete.
class CompressedStream : public ByteStream {
 public:
  CompressedStream(std::unique_ptr<ByteStream> stored, const std::string& name, const char* unit)
      : stored_(std::move(stored)), name_(name), unit_(unit), input_(kInputBytes) {
    end_ = stored_->read(input_);
    require(end_ > 0, "{}: empty, expected a {}", name_, unit_);
  }

  size_t read(std::span<char> out) override {
    for (;;) {
      if (next_ == end_) {
        next_ = 0;
        end_ = stored_->read(input_);
      }
      const bool ended = end_ == 0;
      if (ended && !open_) return 0;
      const size_t n = decode(out);
      if (n > 0) return n;
      // With no input left an open unit may still give what it holds back, but not nothing.
      if (ended && open_)
        fail("{}: ends inside a {} at byte {}: the file is truncated", name_, unit_, consumed());
    }
  }
  uint64_t consumed() const override { return stored_->consumed() - (end_ - next_); }

 protected:
  // Decodes from input_[next_, end_), moving next_ and setting open_; returns the bytes written.
  virtual size_t decode(std::span<char> out) = 0;

  [[noreturn]] void corrupt(const char* why) const {
    fail("{}: near byte {}: not a valid {}: {}", name_, consumed(), unit_, why);
  }

  std::unique_ptr<ByteStream> stored_;
  std::string name_;
  const char* unit_;
  std::vector<char> input_;
  size_t next_ = 0, end_ = 0;  // input_[next_, end_) is still to do
  bool open_ = false;          // inside a unit
};

class ZstdStream : public CompressedStream {
 public:
  ZstdStream(std::unique_ptr<ByteStream> stored, const std::string& name)
      : CompressedStream(std::move(stored), name, "zstd frame") {
    require(context_ != nullptr, "{}: out of memory", name);
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
  GzipStream(std::unique_ptr<ByteStream> stored, const std::string& name)
      : CompressedStream(std::move(stored), name, "gzip member") {
    constexpr int kGzipOnly = 16;  // added to the window bits
    require(::inflateInit2(&state_, MAX_WBITS + kGzipOnly) == Z_OK, "{}: out of memory", name);
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
  auto stored = std::make_unique<PlainStream>(path);
  if (path.ends_with(".zst")) return std::make_unique<ZstdStream>(std::move(stored), path);
  if (path.ends_with(".gz")) return std::make_unique<GzipStream>(std::move(stored), path);
  return stored;
}

std::unique_ptr<ByteStream> open_standard_input(std::function<bool()> stop) {
  auto stored = std::make_unique<StandardInput>(std::move(stop));
  const std::string& front = stored->front();
  const bool zstd =
      front == "\x28\xb5\x2f\xfd" ||  // a frame, or one that is to be passed over
      (front.size() == kMagicBytes && front.ends_with("\x2a\x4d\x18") && (front[0] & 0xf0) == 0x50);
  if (zstd) return std::make_unique<ZstdStream>(std::move(stored), kStandardInput);
  if (front.starts_with("\x1f\x8b"))
    return std::make_unique<GzipStream>(std::move(stored), kStandardInput);
  return stored;
}

}  // namespace midfill
