// Stacks of their own for the threads of a block, and the switch between them (x86-64).
#pragma once

#include <cstddef>

namespace midfill::simt {

class Fiber {
 public:
  Fiber() = default;                // the stack of the caller: to switch from, and back to
  explicit Fiber(void (*entry)());  // a new stack; `entry` runs at the first switch, never returns
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Leaves this fiber, which is the running one, for `next`; returns at a switch back to this.
  void switch_to(Fiber& next);

 private:
  static void first();

  void* stack_pointer_ = nullptr;  // while it does not run
  void (*entry_)() = nullptr;
  char* mapping_ = nullptr;  // guard page and stack
  // For AddressSanitizer, which must be told of each switch.
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace midfill::simt
