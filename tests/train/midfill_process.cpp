#include "tests/train/midfill_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace midfill::test {

MidfillProcess::MidfillProcess(const std::vector<std::string>& arguments,
                               const std::filesystem::path& output) {
  pid_ = ::fork();
  if (pid_ != 0) return;
  const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  std::vector<char*> argv = {const_cast<char*>(MIDFILL_BINARY)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(MIDFILL_BINARY, argv.data());
  ::_exit(127);
}

MidfillProcess::~MidfillProcess() {
  if (status_ != kRunning) return;
  send(SIGKILL);
  wait();
}

void MidfillProcess::send(int signal) const {
  ::kill(pid_, signal);
}

int MidfillProcess::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return status_;
}

bool wait_for_bytes(const std::filesystem::path& file, uintmax_t bytes) {
  for (int i = 0; i < 6000; ++i) {
    std::error_code absent;
    const uintmax_t size = std::filesystem::file_size(file, absent);
    if (!absent && size >= bytes) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace midfill::test
