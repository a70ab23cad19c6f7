#include "kernels/common/blas_memory.h"

#include <cblas.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <vector>

#include "kernels/common/check.h"
#include "kernels/common/memory_limit.h"

// OpenBLAS calls these two for a buffer (interface/ and driver/others/memory.c of its source). A
// program's own come before a library's, so that it calls the ones below: its own are not made for
// several threads in the single-threaded build of the distributions, where two products may get the
// same buffer.
extern "C" {
void* blas_memory_alloc(int procpos);
void blas_memory_free(void* buffer);
}

namespace midfill {

namespace {

// Of one buffer: BUFFER_SIZE of x86-64 builds for all processors, and a page.
constexpr size_t kBufferBytes = (size_t{128} << 20) + 4096;

struct Pool {
  std::mutex mutex;
  std::vector<void*> free;  // buffers that no product uses
  int buffers = 0;          // in all
  int needed = 0;           // by the objects that there are
  bool called = false;      // by OpenBLAS

  // Another buffer of OpenBLAS', which never gets it back.
  void* take_new() {
    static const auto theirs =
        reinterpret_cast<void* (*)(int)>(::dlsym(RTLD_NEXT, "blas_memory_alloc"));
    ++buffers;
    return theirs(0);
  }

  void reserve(int wanted) {
    if (wanted <= buffers) return;
    const size_t bytes = static_cast<size_t>(wanted - buffers) * kBufferBytes;
    void* room = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) fail("{}", out_of_memory(bytes));
    ::munmap(room, bytes);  // most pages of a buffer are never touched
    free.reserve(static_cast<size_t>(wanted));
    while (buffers < wanted) {
      free.push_back(take_new());
      // Packed operands are read at a stride: fewer pages are fewer misses. A hint.
      ::madvise(free.back(), kBufferBytes - 4096, MADV_HUGEPAGE);
    }
  }
};

Pool& pool() {
  static Pool pool;
  return pool;
}

// A product large enough to need a buffer.
void expect_to_be_called() {
  constexpr int n = 64;
  std::vector<float> a(n * n), c(n * n);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0f, a.data(), n, a.data(), n,
              0.0f, c.data(), n);
  require(pool().called,
          "OpenBLAS: this build does not take its memory from midfill; expected a "
          "shared library that looks up blas_memory_alloc, as the distributions'");
}

}  // namespace

BlasMemory::BlasMemory(int threads) : threads_(std::min(threads, kMostProducts)) {
  {
    const std::lock_guard lock(pool().mutex);
    pool().reserve(std::min(pool().needed + threads_, kMostProducts));
    pool().needed += threads_;
  }
  static std::once_flag once;
  std::call_once(once, [] {
    openblas_set_num_threads(1);  // where another build than the single-threaded one was linked
    expect_to_be_called();
  });
}

BlasMemory::~BlasMemory() {
  const std::lock_guard lock(pool().mutex);
  pool().needed -= threads_;
}

}  // namespace midfill

void* blas_memory_alloc(int) {
  midfill::Pool& pool = midfill::pool();
  const std::lock_guard lock(pool.mutex);
  pool.called = true;
  if (pool.free.empty()) return pool.take_new();
  void* buffer = pool.free.back();
  pool.free.pop_back();
  return buffer;
}

void blas_memory_free(void* buffer) {
  midfill::Pool& pool = midfill::pool();
  const std::lock_guard lock(pool.mutex);
  pool.free.push_back(buffer);
}
