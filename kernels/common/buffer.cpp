#include "kernels/common/buffer.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "kernels/common/check.h"
#include "kernels/common/memory_limit.h"

namespace midfill {

namespace {

std::atomic<size_t> held_bytes{0};  // by all buffers together

void release_host(void* p) {
  held_bytes -= ::malloc_usable_size(p);
  std::free(p);
}

}  // namespace

// Linux promises memory that it does not have, and kills the process that then writes to it: so
// what cannot fit is refused here.
Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  const size_t held = held_bytes;
  const MemoryLimit& limit = physical_memory();
  if (bytes > limit.bytes || held > limit.bytes - bytes)
    fail("out of memory: cannot allocate {} bytes beside {} in use: {}", bytes, held, limit.text);
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 256;
  const size_t rounded = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  if (data == nullptr) fail("{}", out_of_memory(bytes));
  if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);  // a hint; failure is harmless
  data_ = {data, release_host};
  held_bytes += ::malloc_usable_size(data);
}

}  // namespace midfill
