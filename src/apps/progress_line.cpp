#include "src/apps/progress_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace midfill {

namespace {

constexpr int kBarWidth = 12;

int terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace

ProgressLine::ProgressLine() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (drawn_) std::fputc('\n', stderr);
}

double ProgressLine::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void ProgressLine::update(double share, std::string_view text) {
  const std::scoped_lock lock(mutex_);
  const auto now = Clock::now();
  const bool first = terminal_ && !drawn_;
  if (!first && now - last_ < std::chrono::milliseconds(terminal_ ? 100 : 10'000)) return;
  last_ = now;
  const bool known = share >= 0;
  share = std::clamp(share, 0.0, 1.0);
  std::string line = known ? fmt::format("{:3.0f} %  {}", 100 * share, text) : std::string(text);
  if (share > 0.01) line += fmt::format("  ETA {}", duration(seconds() / share * (1 - share)));
  if (!terminal_) {
    fmt::print(stderr, "{}\n", line);
    return;
  }
  const int full = static_cast<int>(share * kBarWidth);
  line = fmt::format("[{:#<{}}{:.<{}}] {}", "", full, "", kBarWidth - full, line);
  line.resize(std::min<size_t>(line.size(), static_cast<size_t>(terminal_width() - 1)));
  fmt::print(stderr, "\r{}\x1b[K", line);
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressLine::say(std::string_view line) {
  const std::scoped_lock lock(mutex_);
  fmt::print(stderr, "{}{}\n", drawn_ ? "\r\x1b[K" : "", line);
  drawn_ = false;
}

std::string short_count(int64_t value) {
  if (value < 1000) return std::to_string(value);
  double shown = static_cast<double>(value);
  const char* unit = "";
  for (const char* larger : {"k", "M", "G", "T"}) {
    if (shown < 999.95) break;
    shown /= 1000;
    unit = larger;
  }
  return fmt::format("{:.1f}{}", shown, unit);
}

}  // namespace midfill
