// Counts what a program allocates. A test program that calls this has counting operators new.
#pragma once

#include <cstddef>

namespace midfill::test {

// Calls of operator new so far by the calling thread.
size_t allocations();

}  // namespace midfill::test
