// Standard input, output and error as they may be: closed, full, or a pipe that nobody reads.
#pragma once

#include <string_view>

namespace midfill {

// main calls it before anything opens a file. Standard streams that are closed become ones that
// fail, so that no file of ours gets their descriptor and, with it, what is printed. What ends a
// process by a signal becomes an error of the write: a pipe without a reader, so that a training
// goes on when the terminal program that showed it has gone; and any file over the limit of
// `ulimit -f`, so that what is half-written is cleared away.
void guard_standard_streams();

// Throw Error where the stream could not be read to its end; where not all of the output is
// written.
void check_standard_input();
void flush_standard_output();

// "midfill: <text>" as one line on standard error; control characters, which file names may hold,
// are shown as \n or \x1b.
void print_error(std::string_view text);
// After std::bad_alloc: a line that names the limit that the process has met.
void print_out_of_memory();

}  // namespace midfill
