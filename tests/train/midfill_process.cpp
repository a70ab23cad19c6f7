#include "tests/train/midfill_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

namespace midfill::test {

namespace fs = std::filesystem;

ProcessOptions failing(const std::string& calls) {
  return {.environment = {"LD_PRELOAD=" MIDFILL_FAILING_CALLS, "MIDFILL_FAIL=" + calls}};
}

MidfillProcess::MidfillProcess(const std::vector<std::string>& arguments, const fs::path& output,
                               const ProcessOptions& options) {
  // All that allocates happens before the fork.
  std::vector<char*> argv = {const_cast<char*>(MIDFILL_BINARY)}, environment;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  // The first of a name counts.
  for (const std::string& variable : options.environment)
    environment.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  // And the output of a process before it is gone, for those who wait for this one's.
  const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  pid_ = ::fork();
  if (pid_ != 0) {
    ::close(fd);
    return;
  }
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  for (const int signal : options.ignored_signals) std::signal(signal, SIG_IGN);
  if (options.address_space > 0) {
    const rlimit bytes{options.address_space, options.address_space};
    ::setrlimit(RLIMIT_AS, &bytes);
    // What runs out of memory may do so for ever.
    const rlimit seconds{60, 60};
    ::setrlimit(RLIMIT_CPU, &seconds);
  }
  ::execve(MIDFILL_BINARY, argv.data(), environment.data());
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

bool wait_until(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    sleep_ms(5);
  }
  return false;
}

bool wait_for_bytes(const fs::path& file, uintmax_t bytes) {
  return wait_until([&] {
    std::error_code absent;
    const uintmax_t size = fs::file_size(file, absent);
    return !absent && size >= bytes;
  });
}

void sleep_ms(int64_t ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

std::vector<std::string> ProcessTest::train(const std::string& name,
                                            const std::vector<std::string>& more) const {
  std::vector<std::string> out = {"train", fixture.config_path(),    "--run", fixture / name,
                                  "--set", "train.steps=150",        "--set", "checkpoint.every=4",
                                  "--set", "checkpoint.keep_last=3", "--set", "eval.every=20"};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

std::vector<std::string> ProcessTest::resume(const std::string& name,
                                             const std::vector<std::string>& more) const {
  std::vector<std::string> out = {"train", "--run", fixture / name, "--resume"};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

int ProcessTest::run(const std::vector<std::string>& arguments,
                     const ProcessOptions& options) const {
  return MidfillProcess(arguments, fixture / "output", options).wait();
}

std::string ProcessTest::last_line() const {
  std::string text = output();
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

bool ProcessTest::wait_for_metrics(const std::string& name, uintmax_t bytes) const {
  return wait_for_bytes(fixture / name / "metrics.jsonl", bytes);
}

bool ProcessTest::wait_for_checkpoint(const std::string& name) const {
  return wait_until([&] { return !checkpoints(name).empty(); });
}

std::vector<std::string> ProcessTest::checkpoints(const std::string& name) const {
  std::vector<std::string> found;
  std::error_code absent;
  for (fs::directory_iterator entry(fixture / name, absent), end; !absent && entry != end;
       entry.increment(absent)) {
    const std::string file = entry->path().filename();
    if (file.starts_with("step_")) found.push_back(file);
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace midfill::test
