#include "src/apps/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>

#include "kernels/common/check.h"
#include "kernels/common/memory_limit.h"
#include "src/io/one_line.h"

namespace midfill {

void guard_standard_streams() {
  // open() takes the lowest free descriptor, which is `fd`, as those below are open.
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) == -1) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void check_standard_input() {
  require(!std::cin.bad() && std::ferror(stdin) == 0, "standard input: cannot read");
}

void flush_standard_output() {
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  require(flushed && std::cout.good() && std::ferror(stdout) == 0, "standard output: cannot write");
}

void print_error(std::string_view text) {
  constexpr size_t kLongest = 10000;
  std::fprintf(stderr, "midfill: %s\n", one_line(text, kLongest).c_str());
}

void print_out_of_memory() {
  try {
    print_error(fmt::format("out of memory: {}", memory_limit().text));
  } catch (const std::exception&) {
    std::fputs("midfill: out of memory\n", stderr);
  }
}

}  // namespace midfill
