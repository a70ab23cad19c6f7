#include "kernels/simt/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "kernels/common/check.h"
#include "kernels/simt/sanitizer.h"

namespace midfill::simt {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStackBytes = 256 * 1024;  // committed as it is used

Fiber* leaving = nullptr;  // of the switch under way
Fiber* entering = nullptr;

// Saves what a called function must keep, swaps the stacks, restores and returns on the new one.
__attribute__((naked, noinline)) void swap_stacks(void** /*save*/, void* /*load*/) {
  asm("push %rbx\n"
      "push %rbp\n"
      "push %r12\n"
      "push %r13\n"
      "push %r14\n"
      "push %r15\n"
      "mov %rsp, (%rdi)\n"
      "mov %rsi, %rsp\n"
      "pop %r15\n"
      "pop %r14\n"
      "pop %r13\n"
      "pop %r12\n"
      "pop %rbp\n"
      "pop %rbx\n"
      "ret");
}

}  // namespace

Fiber::Fiber(void (*entry)()) : entry_(entry) {
  void* p = mmap(nullptr, kPage + kStackBytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(p != MAP_FAILED && mprotect(p, kPage, PROT_NONE) == 0,
          "no memory for the stack of an emulated thread");
  mapping_ = static_cast<char*>(p);
  // Stacks that begin at different offsets in a page do not compete for the same cache sets.
  static size_t made = 0;
  const size_t offset = made++ % 31 * 128;
  bottom_ = mapping_ + kPage;
  bytes_ = kStackBytes - offset;
  // As swap_stacks leaves a stack: six registers, then where to return to. `first` finds its own
  // return address (none) above, at 8 modulo 16, as the calling convention has it.
  auto* top = reinterpret_cast<uintptr_t*>(mapping_ + kPage + bytes_);
  top[-2] = reinterpret_cast<uintptr_t>(&Fiber::first);
  stack_pointer_ = top - 8;
}

Fiber::~Fiber() {
  if (!mapping_) return;
  asan::unpoison(mapping_ + kPage, kStackBytes);
  munmap(mapping_, kPage + kStackBytes);
}

void Fiber::switch_to(Fiber& next) {
  leaving = this;
  entering = &next;
  asan::start_switch(&fake_stack_, next.bottom_, next.bytes_);
  swap_stacks(&stack_pointer_, next.stack_pointer_);
  asan::finish_switch(fake_stack_, &leaving->bottom_, &leaving->bytes_);
}

void Fiber::first() {
  asan::finish_switch(nullptr, &leaving->bottom_, &leaving->bytes_);
  entering->entry_();
  __builtin_trap();
}

}  // namespace midfill::simt
