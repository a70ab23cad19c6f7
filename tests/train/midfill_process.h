// A process of the midfill binary; its output goes to a file.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/train/train_fixture.h"

namespace midfill::test {

struct ProcessOptions {
  std::vector<std::string> environment = {};  // "NAME=VALUE", beside the test's own
  std::vector<int> ignored_signals = {};      // as `nohup` leaves SIGHUP
  uint64_t address_space = 0;                 // bytes, as of `ulimit -v`; 0: unlimited
};

// Calls of the C library fail as `calls` says (tests/support/failing_calls.cpp).
ProcessOptions failing(const std::string& calls);

class MidfillProcess {
 public:
  MidfillProcess(const std::vector<std::string>& arguments, const std::filesystem::path& output,
                 const ProcessOptions& options = {});
  ~MidfillProcess();  // killed where it still runs
  MidfillProcess(const MidfillProcess&) = delete;
  MidfillProcess& operator=(const MidfillProcess&) = delete;

  void send(int signal) const;
  // The exit status, or 1000 + the signal that ended it.
  int wait();

 private:
  static constexpr int kRunning = -1;
  pid_t pid_;
  int status_ = kRunning;
};

// Waits, half a minute at most.
bool wait_until(const std::function<bool()>& condition);
// The same, until a file has so many bytes.
bool wait_for_bytes(const std::filesystem::path& file, uintmax_t bytes);
void sleep_ms(int64_t ms);

// Runs of small models in processes of their own.
struct ProcessTest : testing::Test {
  // Enough work for signals to arrive in the middle of it; about two seconds in all.
  std::vector<std::string> train(const std::string& name,
                                 const std::vector<std::string>& more = {}) const;
  std::vector<std::string> resume(const std::string& name,
                                  const std::vector<std::string>& more = {}) const;
  int run(const std::vector<std::string>& arguments, const ProcessOptions& options = {}) const;
  std::string output() const { return read_text(fixture / "output"); }
  // What the last run() or Process said last.
  std::string last_line() const;
  // Waits until the run has written so many bytes of metrics.
  bool wait_for_metrics(const std::string& name, uintmax_t bytes = 1) const;
  // Waits until the run has a checkpoint.
  bool wait_for_checkpoint(const std::string& name) const;
  // Names of the run's checkpoints, sorted.
  std::vector<std::string> checkpoints(const std::string& name) const;

  TrainFixture fixture;
};

}  // namespace midfill::test
