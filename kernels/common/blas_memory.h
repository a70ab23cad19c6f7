// The memory that OpenBLAS packs operands into.
#pragma once

namespace midfill {

// OpenBLAS takes such memory when it first needs it, a buffer for every product that runs at the
// same time, and tries for ever where the system has none. So all of it is taken here, before the
// first product; it is kept and used again.
class BlasMemory {
 public:
  // As many threads make products at the same time as this object lives, beside those of the other
  // objects that do. Throws Error, naming the limit, where the memory is not there.
  explicit BlasMemory(int threads);
  ~BlasMemory();
  BlasMemory(const BlasMemory&) = delete;
  BlasMemory& operator=(const BlasMemory&) = delete;

  // So many products may run at the same time; OpenBLAS has no place for the buffers of more
  // (NUM_THREADS of the distributions' builds).
  static constexpr int kMostProducts = 128;

 private:
  int threads_;
};

}  // namespace midfill
