// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). A value is a pure function of (seed, purpose, epoch,
// sample, segment, draw), so nothing depends on the order of calls, threads, ranks or restarts. No
// other source of randomness exists in midfill.
#pragma once

#include <array>
#include <cstdint>

namespace midfill {

// What a random number is for. The values are part of the format of a run: never renumber, only
// append.
enum class Purpose : uint32_t {
  kInit = 1,         // initial weights
  kSampleOrder = 2,  // the permutation of samples
  kFim = 3,          // FIM coins, modes and cuts in training
  kFimEval = 4,      // the same for the frozen validation streams
  kSampling = 5,     // token sampling in infill and generate
  kBench = 6,        // inputs of benchmarks
  kTest = 7,         // tests
  kDocumentFim = 8,  // FIM at document level
  kSource = 9,       // seeds of the sources of a blend
};

// One Philox block: 128 random bits of a 128-bit counter under a 64-bit key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The stream of draws for one (seed, purpose, epoch, sample, segment).
class Rng {
 public:
  // epoch < 2^16, sample < 2^48, segment < 2^32 (throws otherwise).
  Rng(uint64_t seed, Purpose purpose, uint64_t epoch = 0, uint64_t sample = 0,
      uint64_t segment = 0);

  uint32_t bits32();
  uint64_t bits64();
  double uniform();            // [0, 1), 53 bits
  uint64_t below(uint64_t n);  // [0, n), exactly uniform; n > 0
  double normal();             // N(0, 1), Box-Muller

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;  // words of block_ already given out
};

}  // namespace midfill
