// Threads of a pool, as many as the system grants.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace midfill {

// Adds to `pool` up to `wanted` threads that call run(0), run(1), ...: a system that is short of
// them, or of memory for their stacks, may grant fewer. Throws Error where it grants none.
void start_threads(std::vector<std::jthread>& pool, int wanted,
                   const std::function<void(int)>& run);

}  // namespace midfill
