// Every PTX instruction that midfill's kernels use by hand, and nowhere else: the one place with
// `asm`. Each primitive has two bodies under one contract: PTX for nvcc, and an emulated twin for
// g++ (kernels/simt). tests/conformance compares both with plain definitions on the host.
//
// In the contracts, `lane` is threadIdx.x % 32 of a one-dimensional block, g = lane / 4 and t =
// lane % 4. A register of two 16-bit elements holds the first in bits 0-15. "Warp" means: all 32
// lanes call it, at the same place, together. Shared addresses are ordinary pointers to shared
// memory. Source: NVIDIA, "Parallel Thread Execution ISA", the section that each contract names.
#pragma once

#include <cstdint>

#include "kernels/common/cuda.cuh"

#if defined(__CUDACC__)
#define MIDFILL_PTX __device__ __forceinline__
#define MIDFILL_PTX_SITE
#else
// The twins know from where they were called, for their messages.
#include "kernels/common/ptx_emulated.h"
#define MIDFILL_PTX inline
#define MIDFILL_PTX_SITE , simt::Site site = simt::Site::current()
#endif

namespace midfill::ptx {

#if defined(__CUDACC__)
// The address of shared memory as PTX wants it: 32 bits, relative to the shared window.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

// ---- matrices of 8 x 8 16-bit elements, shared memory -> registers ("Warp-level matrix load
// instruction: ldmatrix")
//
// Warp. Loads kCount = 1, 2 or 4 matrices. Row i of matrix m is the 16 bytes at the address that
// lane 8m + i passes, 16-byte aligned; rows may lie anywhere and overlap; lanes from 8 kCount on
// pass any address, which is not used. r[m] of a lane becomes
//   ldmatrix        elements (row g, column 2t) and (row g, column 2t + 1) of matrix m
//   ldmatrix_trans  elements (row 2t, column g) and (row 2t + 1, column g) of matrix m
// Rows whose addresses are equal modulo 128 bytes are fetched one after another (a bank conflict):
// lay tiles out so that the eight rows of a matrix cover all 32 banks.
template <int kCount>
MIDFILL_PTX void ldmatrix(uint32_t (&r)[kCount], const void* row MIDFILL_PTX_SITE) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
#if defined(__CUDACC__)
  const uint32_t address = shared_address(row);
  if constexpr (kCount == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address)
                 : "memory");
  else if constexpr (kCount == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
#else
  emulated::ldmatrix(r, kCount, row, false, site);
#endif
}

template <int kCount>
MIDFILL_PTX void ldmatrix_trans(uint32_t (&r)[kCount], const void* row MIDFILL_PTX_SITE) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
#if defined(__CUDACC__)
  const uint32_t address = shared_address(row);
  if constexpr (kCount == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address)
                 : "memory");
  else if constexpr (kCount == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
#else
  emulated::ldmatrix(r, kCount, row, true, site);
#endif
}

// ---- D = A B + D on tensor cores ("Matrix fragments for mma.m16n8k16 with floating point type")
//
// Warp. A (16 x 16) bf16, B (16 x 8) bf16, D (16 x 8) f32. A lane holds
//   a[0] = A(g, 2t), A(g, 2t + 1)            a[1] = A(g + 8, 2t), A(g + 8, 2t + 1)
//   a[2] = A(g, 2t + 8), A(g, 2t + 9)        a[3] = A(g + 8, 2t + 8), A(g + 8, 2t + 9)
//   b[0] = B(2t, g), B(2t + 1, g)            b[1] = B(2t + 8, g), B(2t + 9, g)
//   d[0] = D(g, 2t)   d[1] = D(g, 2t + 1)    d[2] = D(g + 8, 2t)   d[3] = D(g + 8, 2t + 1)
// so that ldmatrix x4 of A's four quarters (top left, bottom left, top right, bottom right) gives
// a; ldmatrix_trans x2 of B's top and bottom half, rows of B being rows of memory, or ldmatrix x2
// of B's transpose gives b. Two neighbouring D tiles, packed to bf16, are the A of a next product.
// Products are exact; sums are f32, in an order and with a rounding that the hardware does not
// promise (a device may truncate). Subnormal inputs count. NaN in gives NaN out, of any payload.
MIDFILL_PTX void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                              uint32_t b1 MIDFILL_PTX_SITE) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulated::mma_m16n8k16(d, a, b0, b1, site);
#endif
}

// ---- asynchronous copies, global -> shared memory ("Data Movement and Conversion Instructions:
// cp.async")
//
// Copies the first `source_bytes` (0 to kBytes) of kBytes = 4, 8 or 16 bytes and writes zeros
// behind them; with 0, the source is not read and may be any address of global memory. Both
// addresses are aligned to kBytes. 16-byte copies pass by L1 (.cg), smaller ones cannot (.ca).
// The copy runs on its own: the destination must not be read or written by anybody until this
// thread has waited for it, nor the source written; other threads may read it after a barrier that
// follows that wait.
template <int kBytes>
MIDFILL_PTX void cp_async(void* shared, const void* global,
                          int source_bytes = kBytes MIDFILL_PTX_SITE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if defined(__CUDACC__)
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)),
                   "r"(source_bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)), "n"(kBytes),
                   "r"(source_bytes)
                 : "memory");
#else
  simt::copy_async(shared, global, kBytes, source_bytes, site);
#endif
}

// Closes the group of copies that this thread has started since its last commit; it may be empty.
MIDFILL_PTX void cp_async_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  simt::copy_async_commit();
#endif
}

// Waits until at most the newest kPending committed groups of this thread are still on their way.
template <int kPending>
MIDFILL_PTX void cp_async_wait() {
  static_assert(kPending >= 0);
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
#else
  simt::copy_async_wait(kPending);
#endif
}

// ---- barriers for part of a block ("Parallel Synchronization and Communication Instructions:
// bar")
//
// Barrier `id`, 1 to 15 (0 is __syncthreads), opens when `threads` threads, a multiple of 32, have
// come to it, and is then ready for the next round. bar_sync waits for that; bar_arrive counts and
// goes on: a producer writes, then arrives; the consumers sync and read. What a thread did before
// it came is visible to all threads that waited. All lanes of a warp come together, and all name
// the same number of threads.
MIDFILL_PTX void bar_sync(int id, int threads MIDFILL_PTX_SITE) {
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" : : "r"(id), "r"(threads) : "memory");
#else
  simt::barrier_sync(id, threads, site);
#endif
}

MIDFILL_PTX void bar_arrive(int id, int threads MIDFILL_PTX_SITE) {
#if defined(__CUDACC__)
  asm volatile("bar.arrive %0, %1;" : : "r"(id), "r"(threads) : "memory");
#else
  simt::barrier_arrive(id, threads, site);
#endif
}

// ---- scalars

// 2^x ("Floating Point Instructions: ex2", .approx.ftz): relative error at most 2^-22. Subnormal x
// counts as 0 and a subnormal result becomes 0; ex2(-inf) = 0, ex2(+inf) = +inf, ex2(NaN) = NaN.
MIDFILL_PTX float ex2(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return emulated::ex2(x);
#endif
}

// Two floats rounded to bf16, to nearest even, `low` in bits 0-15 ("Data Movement and Conversion
// Instructions: cvt", .rn.bf16x2.f32). Beyond the largest bf16 comes infinity; subnormals count;
// any NaN becomes 0x7fff.
MIDFILL_PTX uint32_t pack_bf16x2(float low, float high) {
#if defined(__CUDACC__)
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  return emulated::pack_bf16x2(low, high);
#endif
}

// The two halves as floats, exactly.
MIDFILL_PTX float low_bf16(uint32_t packed) {
  return __uint_as_float(packed << 16);
}
MIDFILL_PTX float high_bf16(uint32_t packed) {
  return __uint_as_float(packed & 0xffff0000u);
}

// ---- global memory with a hint ("Data Movement and Conversion Instructions: ld.global.nc, st,
// prefetch", "Cache Operators"). T has 4, 8 or 16 bytes and is aligned to them.

// For data that the whole kernel only reads, and this thread reads once: not kept in L1.
template <typename T>
MIDFILL_PTX T load_once(const T* global) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
#if defined(__CUDACC__)
  constexpr int kWords = sizeof(T) / 4;
  union {
    uint32_t words[kWords];
    T value;
  } u;
  if constexpr (kWords == 1)
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];"
                 : "=r"(u.words[0])
                 : "l"(__cvta_generic_to_global(global)));
  else if constexpr (kWords == 2)
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(u.words[0]), "=r"(u.words[1])
                 : "l"(__cvta_generic_to_global(global)));
  else
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(u.words[0]), "=r"(u.words[1]), "=r"(u.words[2]), "=r"(u.words[3])
                 : "l"(__cvta_generic_to_global(global)));
  return u.value;
#else
  return *global;
#endif
}

// For data that this kernel does not read again: first to leave the caches.
template <typename T>
MIDFILL_PTX void store_once(T* global, const T& value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
#if defined(__CUDACC__)
  constexpr int kWords = sizeof(T) / 4;
  union {
    T value;
    uint32_t words[kWords];
  } u{value};
  if constexpr (kWords == 1)
    asm volatile("st.global.cs.u32 [%0], %1;"
                 :
                 : "l"(__cvta_generic_to_global(global)), "r"(u.words[0])
                 : "memory");
  else if constexpr (kWords == 2)
    asm volatile("st.global.cs.v2.u32 [%0], {%1, %2};"
                 :
                 : "l"(__cvta_generic_to_global(global)), "r"(u.words[0]), "r"(u.words[1])
                 : "memory");
  else
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(global)), "r"(u.words[0]), "r"(u.words[1]),
                   "r"(u.words[2]), "r"(u.words[3])
                 : "memory");
#else
  *global = value;
#endif
}

// Asks for the line of this address to come into L2; has no effect that a kernel can see.
MIDFILL_PTX void prefetch_l2(const void* global) {
#if defined(__CUDACC__)
  asm volatile("prefetch.global.L2 [%0];" : : "l"(__cvta_generic_to_global(global)));
#else
  static_cast<void>(global);
#endif
}

// *global += value, atomically on the device, nothing returned ("Parallel Synchronization and
// Communication Instructions: red"). The order of concurrent adds, and so the rounding of their
// sum, is not fixed: never where a contract promises repeatable bits. Subnormal operands and
// results may become 0.
MIDFILL_PTX void red_add(float* global, float value MIDFILL_PTX_SITE) {
#if defined(__CUDACC__)
  asm volatile("red.global.add.f32 [%0], %1;"
               :
               : "l"(__cvta_generic_to_global(global)), "f"(value)
               : "memory");
#else
  atomicAdd(global, value, site);
#endif
}

}  // namespace midfill::ptx

#undef MIDFILL_PTX
#undef MIDFILL_PTX_SITE
