#include "kernels/memory.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Fill, WritesEveryElementAndNoOther) {
  for (int64_t n : {1, 5, 16384, 16385, 100003}) {
    for (int threads : {1, 2, 3}) {
      std::vector<float> y = test::poisoned(n + 1);
      test::OpDevice(threads).run(Fill{.y = Tensor::of(y.data(), {n}), .value = 2.5f});
      EXPECT_TRUE(test::same_bits(std::span(y).first(static_cast<size_t>(n)),
                                  std::vector<float>(static_cast<size_t>(n), 2.5f)));
      EXPECT_TRUE(std::isnan(y.back()));
    }
  }
}

// Views may begin anywhere.
TEST(Fill, WritesExactlyAViewWhateverItsAlignment) {
  Device device(test::on_cuda() ? "cuda" : "cpu", 2);
  constexpr int64_t kFloats = 1200;
  const Buffer memory = device.allocate(kFloats * sizeof(float));
  auto* floats = static_cast<float*>(memory.data());
  for (int64_t begin = 0; begin < 5; ++begin) {
    for (int64_t n : {1, 2, 3, 4, 7, 8, 1023, 1024, 1027}) {
      const Tensor all = Tensor::of(floats, {kFloats});
      device.run(Fill{.y = all, .value = -1.0f});
      device.run(Fill{.y = all.rows(begin, begin + n), .value = 2.5f});
      std::vector<float> found(kFloats), expected(kFloats, -1.0f);
      std::fill_n(expected.begin() + begin, n, 2.5f);
      device.download(found.data(), all);
      EXPECT_TRUE(test::same_bits(found, expected)) << begin << " " << n;
    }
  }
}

TEST(Cast, RoundsToNearestEvenAndWidensExactly) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (int64_t n : {1, 7, 8, 9, 16, 40003}) {
    std::vector<float> x = test::random_floats(n, 1, 100);
    // Ties both ways, the largest numbers, a subnormal, both zeros.
    const float special[] = {0x1.01p0f, 0x1.03p0f, 0x1.fffffep127f, -kInf, 0x1p-133f, 0.0f, -0.0f};
    std::copy_n(special, std::min(n, int64_t{7}), x.begin());
    const auto size = static_cast<size_t>(n);
    std::vector<Bf16> narrow(size);
    std::vector<float> wide = test::poisoned(n), expected;
    for (float value : x) expected.push_back(static_cast<float>(Bf16(value)));
    test::for_each_way([&](int threads) {
      test::OpDevice device(threads);
      device.run(Cast{.y = Tensor::of(narrow.data(), {n}), .x = Tensor::of(x.data(), {n})});
      device.run(Cast{.y = Tensor::of(wide.data(), {n}), .x = Tensor::of(narrow.data(), {n})});
      EXPECT_TRUE(test::same_bits(wide, expected));
    });
  }
  EXPECT_EQ(static_cast<float>(Bf16(0x1.01p0f)), 1.0f);
  EXPECT_EQ(static_cast<float>(Bf16(0x1.03p0f)), 0x1.04p0f);
}

TEST(Cast, KeepsNan) {
  std::vector<float> x(9, std::nanf("")), wide(9);
  std::vector<Bf16> narrow(9);
  test::OpDevice device(1);
  device.run(Cast{.y = Tensor::of(narrow.data(), {3, 3}), .x = Tensor::of(x.data(), {3, 3})});
  device.run(Cast{.y = Tensor::of(wide.data(), {3, 3}), .x = Tensor::of(narrow.data(), {3, 3})});
  for (float value : wide) EXPECT_TRUE(std::isnan(value));
}

TEST(Copy, CopiesEveryDtype) {
  for (int64_t n : {1, 5, 40000, 100003}) {
    test::OpDevice device(3);
    const auto x = test::random_floats(n, 1);
    std::vector<float> y = test::poisoned(n);
    device.run(Copy{.y = Tensor::of(y.data(), {n}), .x = Tensor::of(x.data(), {n})});
    EXPECT_TRUE(test::same_bits(x, y));
    const auto ids = test::random_ids(n, 1000, 2);
    std::vector<int32_t> ids_copy(ids.size());
    device.run(Copy{.y = Tensor::of(ids_copy.data(), {n}), .x = Tensor::of(ids.data(), {n})});
    EXPECT_EQ(ids, ids_copy);
    const std::vector<double> wide = test::to_double(x);
    std::vector<double> wide_copy(wide.size());
    device.run(Copy{.y = Tensor::of(wide_copy.data(), {n}), .x = Tensor::of(wide.data(), {n})});
    EXPECT_EQ(wide, wide_copy);
  }
}

TEST(Memory, RefusesBadOperands) {
  test::OpDevice device(1);
  std::vector<float> x(8);
  std::vector<int32_t> ids(8);
  EXPECT_EQ(test::error_of([&] { device.run(Fill{.y = Tensor()}); }),
            "Fill: operand y is missing, expected f32 of rank 0");
  EXPECT_EQ(test::error_of([&] { device.run(Fill{.y = Tensor::of(ids.data(), {8})}); }),
            "Fill: y is i32 (8), expected f32 of rank 1");
  EXPECT_EQ(
      test::error_of([&] {
        device.run(Copy{.y = Tensor::of(x.data() + 4, {2, 2}), .x = Tensor::of(x.data(), {2, 1})});
      }),
      "Copy: y is f32 (2, 2), expected f32 (2, 1)");
  EXPECT_EQ(test::error_of([&] {
              device.run(Copy{.y = Tensor::of(x.data() + 3, {4}), .x = Tensor::of(x.data(), {4})});
            }),
            "Copy: y overlaps x, expected memory of its own");
  EXPECT_EQ(test::error_of([&] {
              device.run(Cast{.y = Tensor::of(x.data(), {4}), .x = Tensor::of(x.data() + 4, {4})});
            }),
            "Cast: y is f32 (4), expected bf16 of rank 1");
}

}  // namespace
}  // namespace midfill
