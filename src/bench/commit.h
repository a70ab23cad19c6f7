// The commit this program was built from.
#pragma once

namespace midfill {

// "5b62b63a1c2d", with "+" behind it where the working tree differed; "unknown" outside of git.
extern const char* const kCommit;

}  // namespace midfill
