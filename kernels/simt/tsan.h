// Race mode is on when a kernel file compiled with -fsanitize=thread is in the program.
#pragma once

namespace midfill::simt::tsan {

extern bool active;

}  // namespace midfill::simt::tsan
