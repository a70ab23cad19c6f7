#include "kernels/common/tensor.h"

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Tensor, ViewsRowsAndShapes) {
  std::vector<float> data(24);
  const Tensor t = Tensor::of(data.data(), {4, 2, 3});
  EXPECT_EQ(t.numel(), 24);
  EXPECT_EQ(t.dim(-1), 3);
  EXPECT_EQ(t.rows(1, 3).as<float>(), data.data() + 6);
  EXPECT_TRUE(t.rows(1, 3).has_shape({2, 2, 3}));
  EXPECT_TRUE(t.reshaped({8, 3}).has_shape({8, 3}));
  EXPECT_EQ(t.shape_text(), "(4, 2, 3)");
  EXPECT_TRUE(overlap(t.rows(0, 2), t.rows(1, 3)));
  EXPECT_FALSE(overlap(t.rows(0, 2), t.rows(2, 4)));
}

TEST(Tensor, RefusesWhatDoesNotFit) {
  std::vector<float> data(6);
  const Tensor t = Tensor::of(data.data(), {2, 3});
  EXPECT_EQ(test::error_of([&] { t.as<int32_t>(); }), "tensor is f32, not i32");
  EXPECT_EQ(test::error_of([&] { t.reshaped({4}); }), "cannot view (2, 3) as (4)");
  EXPECT_EQ(test::error_of([&] { t.rows(1, 3); }), "rows 1:3 of (2, 3)");
  EXPECT_EQ(test::error_of([&] {
              expect(t, "Op", "x", DType::f32, {3, 2});
            }),
            "Op: x is f32 (2, 3), expected f32 (3, 2)");
  EXPECT_EQ(test::error_of([&] { expect(Tensor(), "Op", "x", DType::f32, {3}); }),
            "Op: operand x is missing, expected f32 (3)");
}

}  // namespace
}  // namespace midfill
