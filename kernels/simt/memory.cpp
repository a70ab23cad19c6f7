#include "kernels/simt/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "kernels/common/check.h"
#include "kernels/simt/block.h"
#include "kernels/simt/sanitizer.h"
#include "kernels/simt/tsan.h"

namespace midfill::simt {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kGuard = 4096;  // on both sides

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Cells = std::unique_ptr<race::Cell[], Free>;

// Zeroed pages, which cost nothing until they are touched.
Cells make_cells(size_t n) {
  auto* cells = static_cast<race::Cell*>(std::calloc(std::max<size_t>(n, 1), sizeof(race::Cell)));
  require(cells != nullptr, "no memory to check {} bytes of emulated memory for races", n);
  return Cells(cells);
}

struct Allocation {
  char* memory;  // guard, bytes, guard
  size_t bytes;
  Cells cells;  // in race mode, made at the first access
};

std::map<uintptr_t, Allocation>& allocations() {
  static std::map<uintptr_t, Allocation> all;  // by the address of `memory`
  return all;
}

size_t mapped_bytes(size_t bytes) {
  return (bytes + 2 * kGuard + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

void* allocate(size_t bytes) {
  auto* memory = static_cast<char*>(std::aligned_alloc(kAlignment, mapped_bytes(bytes)));
  require(memory != nullptr, "no memory for {} bytes of the emulated device", bytes);
  std::memset(memory, 0xff, mapped_bytes(bytes));
  asan::poison(memory, kGuard);
  asan::poison(memory + kGuard + bytes, mapped_bytes(bytes) - kGuard - bytes);
  allocations().emplace(reinterpret_cast<uintptr_t>(memory), Allocation{memory, bytes, nullptr});
  return memory + kGuard;
}

void release(void* memory) {
  if (!memory) return;
  const auto a = allocations().find(reinterpret_cast<uintptr_t>(memory) - kGuard);
  require(a != allocations().end(), "release of memory that the emulated device did not allocate");
  asan::unpoison(a->second.memory, mapped_bytes(a->second.bytes));
  std::free(a->second.memory);
  allocations().erase(a);
}

void check_allocations() {
  for (const auto& [address, a] : allocations()) {
    const char* end = a.memory + mapped_bytes(a.bytes);
    auto damaged = [](const char* begin, const char* stop) {
      for (const char* p = begin; p != stop; ++p)
        if (*p != '\xff') return true;
      return false;
    };
    require(!damaged(a.memory, a.memory + kGuard),
            "a write before the first of the {} bytes of a global buffer", a.bytes);
    require(!damaged(a.memory + kGuard + a.bytes, end),
            "a write behind the last of the {} bytes of a global buffer", a.bytes);
  }
}

race::Cell* shared_cells(const void* p) {
  const auto memory = running_block().shared.bytes();
  static const Cells cells = make_cells(memory.size());
  return cells.get() + (static_cast<const char*>(p) - memory.data());
}

GlobalBytes find_global(const void* p, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  auto& all = allocations();
  auto a = all.upper_bound(address);
  if (a == all.begin()) return {Where::elsewhere, nullptr};
  --a;
  Allocation& found = a->second;
  const size_t offset = address - a->first;
  if (offset >= mapped_bytes(found.bytes)) return {Where::elsewhere, nullptr};
  if (offset < kGuard || offset + bytes > kGuard + found.bytes) return {Where::outside, nullptr};
  if (!tsan::active) return {Where::inside, nullptr};
  if (!found.cells) found.cells = make_cells(found.bytes);
  return {Where::inside, found.cells.get() + (offset - kGuard)};
}

}  // namespace midfill::simt
