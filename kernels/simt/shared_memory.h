// The shared memory of the running block: variables with guard zones between them, all 0xff (NaN)
// when the block begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace midfill::simt {

class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void begin_block(size_t dynamic_bytes);
  void* dynamic() const { return dynamic_; }
  // The variable of `key`, made at its first use in a block. Throws Error past the GPU's limits.
  void* variable(const void* key, size_t bytes, size_t alignment);

  // All memory, guards included; and whether these bytes lie inside one variable.
  std::span<const char> bytes() const;
  bool in_variable(const void* p, size_t bytes) const;
  // Whether a guard zone was written.
  bool overrun() const;

 private:
  struct Variable {
    const void* key;
    size_t begin, end;
  };
  void* place(const void* key, size_t bytes, size_t alignment);

  char* memory_;
  void* dynamic_ = nullptr;
  std::vector<Variable> variables_;
  size_t used_;
  size_t static_bytes_ = 0, dynamic_bytes_ = 0;
};

}  // namespace midfill::simt
