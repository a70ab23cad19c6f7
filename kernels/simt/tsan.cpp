// The hooks that -fsanitize=thread plants before every access of a kernel: ours, in place of
// ThreadSanitizer's library, which is not linked.
#include "kernels/simt/tsan.h"

#include <cstdint>

#include "kernels/common/check.h"
#include "kernels/simt/block.h"
#include "kernels/simt/memory.h"
#include "kernels/simt/place.h"

namespace midfill::simt {

namespace tsan {
bool active = false;
}  // namespace tsan

void Block::access(int thread, const void* p, size_t bytes, Access access, Place place) {
  const auto memory = shared.bytes();
  const auto offset = static_cast<const char*>(p) - memory.data();
  if (offset >= 0 && offset < static_cast<ptrdiff_t>(memory.size())) {
    if (!shared.in_variable(p, bytes))
      fail("{}: thread {}: an access outside of every shared variable", describe(place), thread);
    if (auto wrong =
            checker.access(shared_cells(p), bytes, race::Memory::shared, thread, access, place))
      fail("{}", *wrong);
    return;
  }
  const GlobalBytes global = find_global(p, bytes);
  if (global.where == Where::outside)
    fail("{}: thread {}: an access outside of a global buffer", describe(place), thread);
  if (global.where == Where::elsewhere) return;
  if (auto wrong = checker.access(global.cells, bytes, race::Memory::global, thread, access, place))
    fail("{}", *wrong);
}

namespace {

// A check is being made: its own accesses are not for checking. (The linker may have kept the
// instrumented copy of an inline function that the checks use too.)
bool checking = false;

void check(Block& block, const void* p, size_t bytes, bool aligned, Access access, Place place) {
  const auto memory = block.shared.bytes();
  const auto offset = static_cast<const char*>(p) - memory.data();
  const bool shared = offset >= 0 && offset < static_cast<ptrdiff_t>(memory.size());
  if (aligned && reinterpret_cast<uintptr_t>(p) % bytes != 0 &&
      (shared || find_global(p, bytes).where != Where::elsewhere))
    fail("{}: thread {}: {} bytes at an address that is not a multiple of {}", describe(place),
         block.thread(), bytes, bytes);
  if (shared && options().count_banks)
    block.banks.access(block.thread(), static_cast<uint32_t>(offset), static_cast<uint32_t>(bytes),
                       place);
  block.access(block.thread(), p, bytes, access, place);
}

void hook(const void* p, size_t bytes, bool aligned, Access access, const void* from) {
  Block& block = running_block();
  if (checking || !block.running()) return;
  checking = true;
  // No exception may leave a hook: the compiler takes for granted that there is none.
  std::string wrong;
  try {
    check(block, p, bytes, aligned, access, place_of(from));
  } catch (const Error& e) {
    wrong = e.what();
  }
  checking = false;
  if (!wrong.empty()) block.abandon(wrong);
}

}  // namespace
}  // namespace midfill::simt

using midfill::simt::Access;
using midfill::simt::hook;

#define MIDFILL_HOOKS(bytes)                                           \
  void __tsan_read##bytes(void* p) {                                   \
    hook(p, bytes, true, Access::read, __builtin_return_address(0));   \
  }                                                                    \
  void __tsan_write##bytes(void* p) {                                  \
    hook(p, bytes, true, Access::write, __builtin_return_address(0));  \
  }                                                                    \
  void __tsan_unaligned_read##bytes(void* p) {                         \
    hook(p, bytes, false, Access::read, __builtin_return_address(0));  \
  }                                                                    \
  void __tsan_unaligned_write##bytes(void* p) {                        \
    hook(p, bytes, false, Access::write, __builtin_return_address(0)); \
  }                                                                    \
  void __tsan_volatile_read##bytes(void* p) {                          \
    hook(p, bytes, true, Access::read, __builtin_return_address(0));   \
  }                                                                    \
  void __tsan_volatile_write##bytes(void* p) {                         \
    hook(p, bytes, true, Access::write, __builtin_return_address(0));  \
  }

extern "C" {
MIDFILL_HOOKS(1)
MIDFILL_HOOKS(2)
MIDFILL_HOOKS(4)
MIDFILL_HOOKS(8)
MIDFILL_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) {
  hook(p, bytes, false, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void* p, size_t bytes) {
  hook(p, bytes, false, Access::write, __builtin_return_address(0));
}
void __tsan_init() {
  midfill::simt::tsan::active = true;
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}

// The compiler's atomics: for hosts (guards of static variables, reference counts); kernels have
// CUDA's.
#define MIDFILL_FETCH(bits, operation)                                               \
  uint##bits##_t __tsan_atomic##bits##_fetch_##operation(volatile uint##bits##_t* p, \
                                                         uint##bits##_t v, int) {    \
    return __atomic_fetch_##operation(p, v, __ATOMIC_SEQ_CST);                       \
  }
#define MIDFILL_COMPARE_EXCHANGE(bits, strength)                                                   \
  bool __tsan_atomic##bits##_compare_exchange_##strength(                                          \
      volatile uint##bits##_t* p, uint##bits##_t* expected, uint##bits##_t v, int, int) {          \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }
#define MIDFILL_ATOMICS(bits)                                                                 \
  uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* p, int) {          \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                              \
  }                                                                                           \
  void __tsan_atomic##bits##_store(volatile uint##bits##_t* p, uint##bits##_t v, int) {       \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                 \
  }                                                                                           \
  uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t* p, uint##bits##_t v, \
                                                int) {                                        \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                       \
  }                                                                                           \
  MIDFILL_FETCH(bits, add)                                                                    \
  MIDFILL_FETCH(bits, sub)                                                                    \
  MIDFILL_FETCH(bits, and)                                                                    \
  MIDFILL_FETCH(bits, or)                                                                     \
  MIDFILL_FETCH(bits, xor)                                                                    \
  MIDFILL_COMPARE_EXCHANGE(bits, strong)                                                      \
  MIDFILL_COMPARE_EXCHANGE(bits, weak)
MIDFILL_ATOMICS(8)
MIDFILL_ATOMICS(16)
MIDFILL_ATOMICS(32)
MIDFILL_ATOMICS(64)
void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {}
}
