// Places in the source, in 32 bits: what a check remembers of an access.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/simt/runtime.h"

namespace midfill::simt {

enum class Place : uint32_t { unknown = 0 };

Place place_of(const Site& site);
Place place_of(const void* return_address);  // of a call in the program's code

bool same_place(const Site& a, const Site& b);

// "attention.cu:57". For addresses the line comes from the program's debug information, by
// addr2line; without them the text is the address.
std::string describe(Place place);
std::string describe(const Site& site);

}  // namespace midfill::simt
