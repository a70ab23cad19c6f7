#include "kernels/embedding.h"

#include <cmath>
#include <limits>

#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

struct Shape {
  int64_t N, V, C;
};
// Those that the device under test takes.
std::vector<Shape> shapes() {
  if (test::on_cuda()) return {{1, 1, 8}, {1, 9, 24}, {7, 3, 8}, {50, 11, 40}, {200, 40, 264}};
  return {{1, 1, 1}, {1, 9, 5}, {7, 3, 1}, {50, 11, 33}, {200, 40, 130}};
}

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
  for (const Shape s : shapes()) {
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
  for (const Shape s : shapes()) {
    if (s.N > 50) continue;  // a loss for each element of the table
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

// Runs of one id that cross many borders of whatever pieces they are summed in, beside single rows;
// ids of one to three digits of a sort.
TEST(EmbeddingBackward, SumsLongRunsAndLargeVocabularies) {
  for (const Shape s :
       {Shape{1100, 2, 8}, Shape{600, 255, 16}, Shape{1100, 256, 8}, Shape{1300, 70000, 8}}) {
    SCOPED_TRACE(testing::Message() << s.N << " rows, " << s.V << " ids");
    Case c(s);
    for (size_t n = 0; n < c.ids.size(); ++n)
      if (n % 7 < 3 || (200 <= n && n < 333)) c.ids[n] = static_cast<int32_t>(s.V - 1);
    std::vector<double> expected = test::to_double(c.dtable), tolerances = expected;
    for (double& size : tolerances) size = 1e-6 * std::abs(size);
    const auto C = static_cast<size_t>(s.C);
    for (size_t i = 0; i < c.dy.size(); ++i) {
      const size_t at = static_cast<size_t>(c.ids[i / C]) * C + i % C;
      expected[at] += static_cast<double>(c.dy[i]);
      tolerances[at] += 1e-6 * std::abs(static_cast<double>(c.dy[i]));
    }
    test::OpDevice(2).run(c.backward());
    EXPECT_TRUE(test::all_near(c.dtable, expected, tolerances));
  }
}

TEST(EmbeddingBackward, BitsDoNotDependOnTheWayOfRunning) {
  std::vector<Shape> all = shapes();
  all.push_back({1100, 3, 8});
  for (const Shape s : all) {
    Case expected(s);
    test::OpDevice(1).run(expected.backward());
    test::for_each_way([&](int threads) {
      Case found(s);
      test::OpDevice(threads).run(found.backward());
      EXPECT_TRUE(test::same_bits(expected.dtable, found.dtable));
    });
  }
}

TEST(EmbeddingBackward, KeepsNanInItsRow) {
  Case c({3, 4, 8});
  c.ids = {2, 0, 2};
  c.dy[1] = std::nanf("");
  test::OpDevice(2).run(c.backward());
  for (size_t i = 0; i < c.dtable.size(); ++i) EXPECT_EQ(std::isnan(c.dtable[i]), i == 17) << i;
}

TEST(EmbeddingForward, Bf16CopiesRows) {
  Case c({50, 11, 264});
  EXPECT_TRUE(test::bf16_error_is_rounding(
      c.forward(), {&EmbeddingForward::y, &EmbeddingForward::table}, {&EmbeddingForward::y}));
}

TEST(EmbeddingBackward, Bf16ErrorIsThatOfRounding) {
  for (const Shape s : {Shape{200, 40, 264}, Shape{1100, 3, 8}}) {
    Case c(s);
    EXPECT_TRUE(test::bf16_error_is_rounding(c.backward(), {&EmbeddingBackward::dy},
                                             {&EmbeddingBackward::dtable}));
  }
}

// On the CPU they are refused; a device does not look before it runs.
TEST(Embedding, IdsOutsideOfTheTable) {
  test::OpDevice device(1);
  for (const int32_t id :
       {9, -1, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    Case c({7, 9, 8}), without({7, 9, 8});
    c.ids[3] = id;
    if (!test::on_cuda()) {
      EXPECT_EQ(test::error_of([&] { device.run(c.forward()); }),
                fmt::format("EmbeddingForward: ids[3] is {}, expected 0 to 8", id));
      EXPECT_TRUE(std::isnan(c.y[0])) << "an op that throws leaves its outputs alone";
      EXPECT_EQ(test::error_of([&] { device.run(c.backward()); }),
                fmt::format("EmbeddingBackward: ids[3] is {}, expected 0 to 8", id));
      EXPECT_TRUE(test::same_bits(c.dtable, without.dtable));
      continue;
    }
    c.y.assign(c.y.size(), 0.0f);
    device.run(c.forward());
    for (size_t i = 0; i < c.y.size(); ++i) EXPECT_EQ(std::isnan(c.y[i]), i / 8 == 3) << i;
    std::fill_n(without.dy.begin() + 3 * 8, 8, 0.0f);
    device.run(c.backward());
    device.run(without.backward());
    EXPECT_TRUE(test::same_bits(c.dtable, without.dtable));
  }
}

TEST(Embedding, RefusesBadOperands) {
  test::OpDevice device(1);
  Case c({7, 9, 5});
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
  if (test::on_cuda()) {
    EXPECT_EQ(test::error_of([&] { device.run(c.forward()); }),
              "EmbeddingForward on cuda: width 5, expected a multiple of 8");
    EXPECT_EQ(test::error_of([&] { device.run(c.backward()); }),
              "EmbeddingBackward on cuda: width 5, expected a multiple of 8");
  }
}

}  // namespace
}  // namespace midfill
