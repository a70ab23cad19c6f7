#include "src/train/stop_signal.h"

#include <unistd.h>

#include <csignal>

namespace midfill {

namespace {

volatile std::sig_atomic_t received = 0;

void on_signal(int number) {
  if (received) ::_exit(130);
  received = number;
}

void install(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  received = 0;
  install(on_signal);
}

StopSignal::~StopSignal() {
  install(SIG_DFL);
}

int StopSignal::number() const {
  return received;
}

const char* StopSignal::name() const {
  return received == SIGINT ? "SIGINT" : received == SIGTERM ? "SIGTERM" : "";
}

}  // namespace midfill
