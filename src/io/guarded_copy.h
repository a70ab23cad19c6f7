// Copies out of memory maps that survive what a file can do while it is mapped.
#pragma once

#include <cstddef>

namespace midfill {

// Copies `bytes` bytes of a map of a file. False, with `to` in any state, where the system cannot
// give a page of it, because the file has been cut or its disk fails; any other reader of the map
// gets SIGBUS. A SIGBUS that does not come from here goes to the handler that was there before.
bool copy_from_map(void* to, const void* from, size_t bytes);

}  // namespace midfill
