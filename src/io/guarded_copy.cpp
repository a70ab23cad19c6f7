#include "src/io/guarded_copy.h"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstring>

namespace midfill {

namespace {

// Where this thread goes on after a SIGBUS; null outside of a copy.
thread_local sigjmp_buf* recovery = nullptr;
struct sigaction previous {};

void on_bus_error(int, siginfo_t*, void*) {
  if (recovery != nullptr) siglongjmp(*recovery, 1);
  // Not ours: the instruction runs again, and meets the handler before ours.
  ::sigaction(SIGBUS, &previous, nullptr);
}

bool install_handler() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  // NODEFER: the handler leaves by a jump, which must not leave the signal blocked.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  return ::sigaction(SIGBUS, &action, &previous) == 0;
}

}  // namespace

bool copy_from_map(void* to, const void* from, size_t bytes) {
  static const bool installed = install_handler();
  static_cast<void>(installed);
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    recovery = nullptr;
    return false;
  }
  recovery = &here;
  // The compiler knows nothing of the handler, for which the order of these three matters.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(to, from, bytes);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  recovery = nullptr;
  return true;
}

}  // namespace midfill
