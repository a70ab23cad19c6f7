#include "kernels/embedding.h"

#include <cmath>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

struct Shape {
  int64_t N, V, C;
};
const Shape kShapes[] = {{1, 1, 1}, {1, 9, 5}, {7, 3, 1}, {50, 11, 33}, {200, 40, 130}};

struct Case {
  Shape s;
  std::vector<float> table, y, dy, dtable;
  std::vector<int32_t> ids;

  explicit Case(Shape shape)
      : s(shape),
        table(test::random_floats(s.V * s.C, 1)),
        y(test::poisoned(s.N * s.C)),
        dy(test::random_floats(s.N * s.C, 2)),
        dtable(test::random_floats(s.V * s.C, 3)),
        ids(test::random_ids(s.N, static_cast<int32_t>(s.V), 4)) {}

  EmbeddingForward forward() {
    return {.y = Tensor::of(y.data(), {s.N, s.C}),
            .ids = Tensor::of(ids.data(), {s.N}),
            .table = Tensor::of(table.data(), {s.V, s.C})};
  }

  EmbeddingBackward backward() {
    return {.dtable = Tensor::of(dtable.data(), {s.V, s.C}),
            .dy = Tensor::of(dy.data(), {s.N, s.C}),
            .ids = Tensor::of(ids.data(), {s.N})};
  }
};

TEST(EmbeddingForward, CopiesRows) {
  for (const Shape s : kShapes) {
    for (int threads : {1, 2, 3}) {
      Case c(s);
      test::OpDevice(threads).run(c.forward());
      std::vector<float> expected;
      for (int32_t id : c.ids)
        expected.insert(expected.end(), c.table.begin() + id * s.C,
                        c.table.begin() + (id + 1) * s.C);
      EXPECT_TRUE(test::same_bits(c.y, expected));
    }
  }
}

TEST(EmbeddingBackward, AgreesWithFiniteDifferences) {
  for (const Shape s : {kShapes[0], kShapes[1], kShapes[2], kShapes[3]}) {
    Case c(s);
    std::vector<double> expected = test::to_double(c.dtable), tolerances = expected;
    test::OpDevice(2).run(c.backward());
    const auto C = static_cast<size_t>(s.C);
    // The loss sum of dy * y, linear in the table.
    const auto loss = [&](std::span<const double> table) {
      double sum = 0;
      for (size_t i = 0; i < c.dy.size(); ++i)
        sum += static_cast<double>(c.dy[i]) * table[static_cast<size_t>(c.ids[i / C]) * C + i % C];
      return sum;
    };
    const auto gradient = test::finite_differences(loss, test::to_double(c.table), 0.1);
    for (double& size : tolerances) size = std::abs(size);
    for (size_t i = 0; i < c.dy.size(); ++i)
      tolerances[static_cast<size_t>(c.ids[i / C]) * C + i % C] +=
          std::abs(static_cast<double>(c.dy[i]));
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] += gradient[i];
      tolerances[i] = 1e-6 * tolerances[i];
    }
    EXPECT_TRUE(test::all_near(c.dtable, expected, tolerances));
  }
}

TEST(EmbeddingBackward, IsTheSameForAnyThreadCount) {
  for (const Shape s : kShapes) {
    Case expected(s);
    test::OpDevice(1).run(expected.backward());
    for (int threads : {1, 2, 3}) {
      Case found(s);
      test::OpDevice(threads).run(found.backward());
      EXPECT_TRUE(test::same_bits(expected.dtable, found.dtable));
    }
  }
}

TEST(EmbeddingBackward, KeepsNanInItsRow) {
  Case c({3, 4, 2});
  c.ids = {2, 0, 2};
  c.dy[1] = std::nanf("");
  test::OpDevice(2).run(c.backward());
  for (size_t i = 0; i < c.dtable.size(); ++i) EXPECT_EQ(std::isnan(c.dtable[i]), i == 5) << i;
}

TEST(Embedding, RefusesBadOperands) {
  test::OpDevice device(1);
  Case c({7, 9, 5});
  c.ids[3] = 9;
  EXPECT_EQ(test::error_of([&] { device.run(c.forward()); }),
            "EmbeddingForward: ids[3] is 9, expected 0 to 8");
  EXPECT_TRUE(std::isnan(c.y[0])) << "an op that throws leaves its outputs alone";
  c.ids[3] = -1;
  EXPECT_EQ(test::error_of([&] { device.run(c.backward()); }),
            "EmbeddingBackward: ids[3] is -1, expected 0 to 8");
  EXPECT_TRUE(test::same_bits(c.dtable, test::random_floats(45, 3)));
  c.ids[3] = 0;
  EmbeddingForward forward = c.forward();
  forward.y = Tensor::of(c.table.data(), {7, 5});
  EXPECT_EQ(test::error_of([&] { device.run(forward); }),
            "EmbeddingForward: y overlaps table, expected memory of its own");
  EmbeddingBackward backward = c.backward();
  backward.ids = Tensor();
  EXPECT_EQ(test::error_of([&] { device.run(backward); }),
            "EmbeddingBackward: operand ids is missing, expected i32 of rank 1");
  backward = c.backward();
  backward.dy = Tensor::of(c.dy.data(), {5, 7});
  EXPECT_EQ(test::error_of([&] { device.run(backward); }),
            "EmbeddingBackward: dy is f32 (5, 7), expected f32 (7, 5)");
}

}  // namespace
}  // namespace midfill
