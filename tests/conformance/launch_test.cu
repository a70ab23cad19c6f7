// launch(): shapes, arguments, dynamic shared memory, and what it says when a kernel cannot start.
#include "tests/conformance/conformance.cuh"

namespace midfill::test {
namespace {

template <typename T>
__global__ void number_threads(T* out, T offset) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned i = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
  out[i] = offset + static_cast<T>(i);
}

// Turns the order of n numbers round in dynamic shared memory.
__global__ void reverse(int* data, int n) {
  int* all = dynamic_shared<int>();
  for (int i = threadIdx.x; i < n; i += blockDim.x) all[i] = data[i];
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) data[i] = all[n - 1 - i];
}

std::string error_of(const auto& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// One line that contains all of `parts`.
void expect_line(const std::string& text, const std::vector<std::string>& parts) {
  EXPECT_EQ(text.find('\n'), text.npos) << text;
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), text.npos) << text << "\nlacks: " << part;
}

using LaunchTest = Conformance;

TEST_F(LaunchTest, ThreeDimensionsAndConvertedArguments) {
  run([&] {
    Array<int64_t> out(2 * 3 * 2 * 32 * 2 * 2);
    launch<number_threads<int64_t>>({.grid = dim3(2, 3, 2), .block = dim3(32, 2, 2)}, out.data(),
                                    7);
    const std::vector<int64_t> got = out.host();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<int64_t>(i) + 7);
  });
}

TEST_F(LaunchTest, MoreSharedMemoryThanTheDefault) {
  constexpr int kCount = 20480;  // 80 KB, which every supported device has
  std::vector<int> numbers(kCount);
  for (int i = 0; i < kCount; ++i) numbers[i] = i;
  run([&] {
    Array<int> data(numbers);
    launch<reverse>({.grid = 1, .block = 256, .shared_bytes = kCount * sizeof(int)}, data.data(),
                    kCount);
    const std::vector<int> got = data.host();
    for (int i = 0; i < kCount; ++i) ASSERT_EQ(got[i], kCount - 1 - i);
  });
}

TEST_F(LaunchTest, ErrorsNameKernelFileAndLine) {
  Array<int> data(32);
  const std::string line = std::to_string(__LINE__ + 3);
  const std::string too_much = error_of([&] {
    const size_t shared_bytes = 228 * 1024;
    launch<reverse>({.grid = 1, .block = 32, .shared_bytes = shared_bytes}, data.data(), 32);
  });
  expect_line(too_much, {"launch_test.cu:" + line + ": reverse, ", "233472 bytes"});
  const std::string too_wide = error_of(
      [&] { launch<number_threads<int>>({.grid = 3, .block = dim3(32, 33)}, data.data(), 0); });
  expect_line(too_wide, {"number_threads<int>, grid (3, 1, 1), block (32, 33, 1)"});
  // And the next launch works.
  launch<number_threads<int>>({.grid = 1, .block = 32}, data.data(), 0);
  EXPECT_EQ(data.host()[31], 31);
}

}  // namespace
}  // namespace midfill::test
