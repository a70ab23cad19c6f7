// Work that a signal may end.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <optional>

#include "kernels/common/check.h"
#include "src/apps/progress_line.h"
#include "src/train/stop_signal.h"

namespace midfill {

// Does the work. Where it throws Error because `signal` asked it to end, shows that as a line and
// gives the exit status.
inline std::optional<int> until_stopped(const StopSignal& signal, ProgressLine& line,
                                        const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (!signal.requested()) throw;
    line.say(fmt::format("midfill: {}", error.what()));
    return signal.exit_status();
  }
  return std::nullopt;
}

}  // namespace midfill
