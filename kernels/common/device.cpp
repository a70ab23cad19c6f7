#include "kernels/common/device.h"

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "kernels/common/check.h"

namespace midfill {

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 256;
  const size_t rounded = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  require(data != nullptr, "out of memory: cannot allocate {} bytes", bytes);
  if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);  // a hint; failure is harmless
  data_.reset(data);
}

void Buffer::Free::operator()(void* p) const {
  std::free(p);
}

Cpu::Cpu(int threads) : threads_(threads > 0 ? threads : omp_get_max_threads()) {
  omp_set_num_threads(threads_);
}

void* Cpu::workspace(size_t bytes) {
  if (workspace_.bytes() < bytes) workspace_ = Buffer(bytes);
  return workspace_.data();
}

Device::Device(std::string_view name, int threads) : cpu_(threads) {
  require(name != "cuda", "device cuda: this build has no CUDA backend; use --device cpu");
  require(name == "cpu", "device {}: expected cpu or cuda", name);
}

}  // namespace midfill
