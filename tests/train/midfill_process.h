// A process of the midfill binary; its output goes to a file.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace midfill::test {

class MidfillProcess {
 public:
  MidfillProcess(const std::vector<std::string>& arguments, const std::filesystem::path& output);
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

// Waits, half a minute at most, until a file has so many bytes.
bool wait_for_bytes(const std::filesystem::path& file, uintmax_t bytes);

}  // namespace midfill::test
