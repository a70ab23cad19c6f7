// Whether the device `cuda` of this build is the emulated one.
#pragma once

#include "kernels/common/check.h"
#include "src/bench/machine.h"

namespace midfill::test {

inline bool emulated() {
  try {
    Device device("cuda", 1);
    return is_emulated(device);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace midfill::test
