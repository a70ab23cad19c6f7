// One line on standard error that says how far a long command is: redrawn in place on a terminal,
// a line of its own now and then where standard error is a file or a pipe.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>

namespace midfill {

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // ends the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // `share` of the work is done (0..1; below 0: not known); `text` says more. Adds a bar and the
  // time left. Draws at most ten times a second on a terminal, else every ten seconds.
  void update(double share, std::string_view text);
  // A line above the progress line. Safe to call from another thread.
  void say(std::string_view line);
  double seconds() const;  // since the start

 private:
  using Clock = std::chrono::steady_clock;
  std::mutex mutex_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

std::string short_count(int64_t value);  // "999", "1.2k", "34.5M", "6.7G"

}  // namespace midfill
