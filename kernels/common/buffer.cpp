#include "kernels/common/buffer.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "kernels/common/check.h"

namespace midfill {

namespace {

std::atomic<size_t> held_bytes{0};  // by all buffers together

size_t machine_bytes() {
  static const size_t bytes = static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) *
                              static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
  return bytes;
}

void release_host(void* p) {
  held_bytes -= ::malloc_usable_size(p);
  std::free(p);
}

}  // namespace

// Linux promises memory that it does not have, and kills the process that then writes to it: so
// what cannot fit is refused here.
Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  const size_t held = held_bytes;
  require(bytes <= machine_bytes() && held <= machine_bytes() - bytes,
          "out of memory: cannot allocate {} bytes beside {} in use; this machine has {}", bytes,
          held, machine_bytes());
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 256;
  const size_t rounded = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  require(data != nullptr, "out of memory: cannot allocate {} bytes", bytes);
  if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);  // a hint; failure is harmless
  data_ = {data, release_host};
  held_bytes += ::malloc_usable_size(data);
}

}  // namespace midfill
