// Standard input, output and error as they may be: closed, full, or a pipe that nobody reads.
#pragma once

#include <string_view>

namespace midfill {

// main calls it before anything opens a file. Standard streams that are closed become ones that
// fail, so that no file of ours gets their descriptor and, with it, what is printed. A pipe without
// a reader becomes an error of the write instead of the end of the process: a training goes on when
// the terminal program that showed it has gone.
void guard_standard_streams();

// Throw Error where the stream could not be read to its end; where not all of the output is
// written.
void check_standard_input();
void flush_standard_output();

// "midfill: <text>" as one line on standard error; control characters, which file names may hold,
// are shown as \n or \x1b.
void print_error(std::string_view text);

}  // namespace midfill
