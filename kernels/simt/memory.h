// Global memory of the emulated device, and what race mode knows of every byte.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/simt/race.h"

namespace midfill::simt {

// The cells of bytes that start at an address in the shared memory of the running block.
race::Cell* shared_cells(const void* p);

enum class Where { elsewhere, inside, outside };  // outside: in a guard zone of an allocation
struct GlobalBytes {
  Where where;
  race::Cell* cells;  // in race mode
};
GlobalBytes find_global(const void* p, size_t bytes);

// Throws Error when a guard zone of an allocation was written.
void check_allocations();

}  // namespace midfill::simt
