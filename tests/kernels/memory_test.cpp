#include "kernels/memory.h"

#include <cmath>

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
}

}  // namespace
}  // namespace midfill
