#include "kernels/common/start_threads.h"

#include <system_error>

#include "kernels/common/check.h"
#include "kernels/common/memory_limit.h"

namespace midfill {

void start_threads(std::vector<std::jthread>& pool, int wanted,
                   const std::function<void(int)>& run) {
  for (int i = 0; i < wanted; ++i) {
    try {
      pool.emplace_back(run, i);
    } catch (const std::system_error& error) {
      if (i > 0) return;
      // The same error stands for too many threads and for no room for another's stack.
      constexpr uint64_t kStackBytes = uint64_t{16} << 20;
      const MemoryLimit memory = memory_limit();
      fail("cannot start a thread: {}{}", error.code().message(),
           memory.left() < kStackBytes ? ": " + memory.text : "");
    }
  }
}

}  // namespace midfill
