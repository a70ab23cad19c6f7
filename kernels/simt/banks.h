// Counts bank conflicts: shared memory has 32 banks of 4-byte words, and a warp's access takes as
// many passes as the busiest bank has different words to serve.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "kernels/simt/place.h"
#include "kernels/simt/runtime.h"

namespace midfill::simt {

class BankCounter {
 public:
  void begin_launch() { counts_.clear(); }
  void begin_block() { open_.clear(); }
  // Counts what no full warp did.
  void end_block();

  // One phase of ldmatrix or stmatrix: 8 rows of 16 bytes, at these offsets in shared memory.
  void rows(std::span<const uint32_t, 8> offsets, Place place);
  // One thread's access. The k-th access of each lane at a place belongs to one warp-wide access.
  void access(int thread, uint32_t offset, uint32_t bytes, Place place);

  std::vector<BankUse> report() const;

 private:
  struct Count {
    int64_t accesses = 0, passes = 0, needed = 0;
  };
  struct Request {
    uint32_t bytes = 0;
    unsigned lanes = 0;  // that have come
    std::array<uint32_t, kWarp> offsets{};
  };
  struct Stream {  // the accesses of one warp at one place
    std::array<int64_t, kWarp> done{};
    int64_t first = 0;  // number of requests[0]
    std::vector<Request> requests;
  };
  void count(const Request& request, Place place);

  std::map<Place, Count> counts_;
  std::map<std::pair<Place, int>, Stream> open_;
};

}  // namespace midfill::simt
