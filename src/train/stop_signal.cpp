#include "src/train/stop_signal.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <string>
#include <string_view>

namespace midfill {

namespace {

struct Known {
  int number;
  const char* name;
};
constexpr std::array kStops = {Known{SIGINT, "SIGINT"}, Known{SIGTERM, "SIGTERM"},
                               Known{SIGHUP, "SIGHUP"}, Known{SIGUSR1, "SIGUSR1"},
                               Known{SIGXCPU, "SIGXCPU"}};
constexpr Known kSave = {SIGUSR2, "SIGUSR2"};
constexpr size_t kHandled = kStops.size() + 1;  // the last is kSave

// A repeat within this time is the same request; from then on it is pressing.
constexpr int64_t kOneRequestNs = 1'000'000'000;

// What handlers read and write.
std::atomic<int> received{0};
std::atomic<int64_t> received_at{0};
std::atomic<bool> save_requested{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);
std::array<std::string, kHandled> lines;  // made before a handler is installed
std::array<struct sigaction, kHandled> before;

int64_t now_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

// In a handler nothing can be done about a standard error that takes no line.
void say(const std::string& line) {
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

void on_stop(int number) {
  int none = 0;
  // The time first: who sees the number has it.
  int64_t never = 0;
  received_at.compare_exchange_strong(never, now_ns());
  if (received.compare_exchange_strong(none, number)) {
    for (size_t i = 0; i < kStops.size(); ++i)
      if (kStops[i].number == number) say(lines[i]);
  } else if (number == SIGINT && now_ns() - received_at >= kOneRequestNs) {
    ::_exit(128 + SIGINT);
  }
}

void on_save(int) {
  save_requested = true;
  say(lines.back());
}

void install(size_t at, int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on
  ::sigaction(number, nullptr, &before[at]);
  if (before[at].sa_handler != SIG_IGN) ::sigaction(number, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal(const char* then, Save save) {
  received = 0;
  received_at = 0;
  save_requested = false;
  for (size_t i = 0; i < kStops.size(); ++i) {
    lines[i] = fmt::format("midfill: {} received: {}\n", kStops[i].name, then);
    install(i, kStops[i].number, on_stop);
  }
  lines.back() = fmt::format("midfill: {} received: saving after this step\n", kSave.name);
  ::sigaction(kSave.number, nullptr, &before.back());
  if (save == Save::on_usr2) install(kHandled - 1, kSave.number, on_save);
}

StopSignal::~StopSignal() {
  // The process is about to end with the request's status: a repeat must not give it another.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  for (size_t i = 0; i < kStops.size(); ++i)
    ::sigaction(kStops[i].number, requested() ? &ignore : &before[i], nullptr);
  ::sigaction(kSave.number, &before.back(), nullptr);
}

int StopSignal::number() const {
  return received;
}

bool StopSignal::pressing() const {
  return requested() && now_ns() - received_at >= kOneRequestNs;
}

const char* StopSignal::name() const {
  for (const Known& stop : kStops)
    if (stop.number == number()) return stop.name;
  return "";
}

bool StopSignal::take_save_request() const {
  return save_requested.exchange(false);
}

}  // namespace midfill
