// A stable sort on the device `cuda`: which positions hold the smallest id, the next, and so on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/launch.h"

namespace midfill {

// In device memory, n elements each: ids in ascending order, and where each of them stood; equal
// ids in ascending position. Ids outside [0, limit) come last, all as `limit`.
struct SortedPositions {
  const int32_t *ids, *positions;
};

// Scratch memory for sort_positions; the result lies in it.
size_t sort_bytes(int64_t n);

SortedPositions sort_positions(Cuda& cuda, const int32_t* ids, int64_t n, int32_t limit,
                               void* scratch);

}  // namespace midfill
