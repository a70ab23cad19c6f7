// What the conformance tests share. Each compiles twice: by nvcc for a GPU, by g++ for the
// emulation, where its kernels run in several schedules.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/common/cuda.cuh"
#include "kernels/common/launch.h"
#include "kernels/common/ptx.h"
#include "kernels/common/rng.h"

namespace midfill::test {

#if defined(__CUDACC__)

inline void cuda_ok(cudaError_t status) {
  require(status == cudaSuccess, "{}", cudaGetErrorString(status));
}

// Device memory that starts as `host`.
template <typename T>
class Array {
 public:
  explicit Array(const std::vector<T>& host) : size_(host.size()) {
    cuda_ok(cudaMalloc(&data_, size_ * sizeof(T)));
    cuda_ok(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Array() { cudaFree(data_); }
  std::vector<T> host() const {
    std::vector<T> copy(size_);
    cuda_ok(cudaMemcpy(copy.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return copy;
  }
#else

template <typename T>
class Array {
 public:
  explicit Array(const std::vector<T>& host)
      : data_(static_cast<T*>(simt::allocate(host.size() * sizeof(T)))), size_(host.size()) {
    std::memcpy(data_, host.data(), size_ * sizeof(T));
  }
  ~Array() { simt::release(data_); }
  std::vector<T> host() const { return std::vector<T>(data_, data_ + size_); }
#endif

  // `size` elements of bytes 0xff: NaN as float and bf16.
  explicit Array(size_t size) : Array(poison(size)) {}
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() {
    return data_;
  }

 private:
  static std::vector<T> poison(size_t size) {
    std::vector<T> host(size);
    std::memset(host.data(), 0xff, size * sizeof(T));
    return host;
  }

  T* data_ = nullptr;
  size_t size_;
};

class Conformance : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__CUDACC__)
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      cudaGetLastError();
      GTEST_SKIP() << "no CUDA device";
    }
#endif
  }

  // Calls body(): once on a GPU, once for each schedule on the emulation.
  template <typename Body>
  void run(Body body) {
#if defined(__CUDACC__)
    body();
#else
    using simt::Schedule;
    const simt::Options before = simt::options();
    for (const Schedule schedule : {Schedule::ascending, Schedule::descending, Schedule::random}) {
      SCOPED_TRACE("schedule " + std::to_string(static_cast<int>(schedule)));
      simt::options().schedule = schedule;
      body();
    }
    simt::options() = before;
#endif
  }
};

inline std::vector<uint16_t> random_halves(size_t n, uint64_t seed) {
  Rng rng(seed, Purpose::kTest);
  std::vector<uint16_t> x(n);
  for (uint16_t& v : x) v = static_cast<uint16_t>(rng.bits32());
  return x;
}

}  // namespace midfill::test
