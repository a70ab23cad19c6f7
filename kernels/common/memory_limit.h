// What bounds this process's memory: `ulimit -v` and `-d`, its cgroups, the machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace midfill {

struct MemoryLimit {
  uint64_t bytes = 0;
  uint64_t used = 0;  // of it, by this process
  std::string text;   // "ulimit -v is 600000 KiB", "/sys/fs/cgroup/job/memory.max is 2147483648
                      // bytes", "this machine has 16777216000 bytes"

  uint64_t left() const { return bytes - (used < bytes ? used : bytes); }
};

// The one of which least is left now.
MemoryLimit memory_limit();

// The tighter of cgroups and machine, as it was when first asked for. Linux promises more than that
// and kills the process that then uses it, where an allocation beyond the limits of ulimit fails.
const MemoryLimit& physical_memory();

// "out of memory: cannot allocate 4096 bytes beside 600000000 in use: ulimit -v is 600000 KiB",
// of the limit with the least left.
std::string out_of_memory(size_t bytes);

// strerror(error), with the limit behind it where that is for want of memory.
std::string system_error_text(int error);

}  // namespace midfill
