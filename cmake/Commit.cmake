# cmake -DSOURCE=<tree> -DOUT=<file> -P Commit.cmake: writes the definition of kCommit (src/bench/commit.h).
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status ERROR_QUIET)
if(status EQUAL 0)
  # Changes to tracked files; exits with 1 where there are some.
  execute_process(COMMAND git -C ${SOURCE} diff --quiet HEAD RESULT_VARIABLE changed ERROR_QUIET)
  if(NOT changed EQUAL 0)
    string(APPEND commit "+")
  endif()
else()
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT [[
#include "src/bench/commit.h"

namespace midfill {

const char* const kCommit = "@commit@";

}  // namespace midfill
]] @ONLY)
