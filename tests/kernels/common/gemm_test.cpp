#include "kernels/common/gemm.h"

#include <cmath>

#include "kernels/common/device.h"
#include "tests/support/numerics.h"
#include "tests/support/operands.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

// Every case of a product, against double.
struct Case {
  int64_t m, n, k;
  DType in, out;
  bool transpose_a, transpose_b, with_add, in_place, with_bias;
};

// Tensors in device memory, filled with seeded numbers rounded to the dtype.
class Operands {
 public:
  Operands(const Case& c, Device& device) : c_(c), device_(device) {
    gemm.transpose_a = c.transpose_a;
    gemm.transpose_b = c.transpose_b;
    gemm.a = c.transpose_a ? make(c.in, {c.k, c.m}, 1) : make(c.in, {c.m, c.k}, 1);
    gemm.b = c.transpose_b ? make(c.in, {c.n, c.k}, 2) : make(c.in, {c.k, c.n}, 2);
    if (c.with_add) gemm.add = make(c.out, {c.m, c.n}, 3);
    if (c.with_bias) gemm.bias = make(c.out, {c.n}, 4);
    if (c.with_add) add_ = values_of(gemm.add);
    gemm.d = c.in_place ? gemm.add : make(c.out, {c.m, c.n}, 5, std::nan(""));
  }

  std::vector<double> values_of(const Tensor& t) {
    if (!t) return {};
    const Buffer host(static_cast<size_t>(t.bytes()));
    device_.download(host.data(), t);
    return test::to_double(test::to_floats(Tensor(host.data(), t.dtype(), {t.numel()})));
  }

  // d and what its error may be.
  void expected(std::vector<double>& d, std::vector<double>& tolerances) {
    const auto a = values_of(gemm.a), b = values_of(gemm.b), bias = values_of(gemm.bias);
    for (int64_t row = 0; row < c_.m; ++row) {
      for (int64_t column = 0; column < c_.n; ++column) {
        const auto at = static_cast<size_t>(row * c_.n + column);
        double sum = 0, size = 0;
        const auto take = [&](double value) {
          sum += value;
          size += std::abs(value);
        };
        for (int64_t i = 0; i < c_.k; ++i)
          take(a[static_cast<size_t>(c_.transpose_a ? i * c_.m + row : row * c_.k + i)] *
               b[static_cast<size_t>(c_.transpose_b ? column * c_.k + i : i * c_.n + column)]);
        if (c_.with_add) take(add_[at]);
        if (c_.with_bias) take(bias[static_cast<size_t>(column)]);
        d.push_back(sum);
        tolerances.push_back(2e-6 * size + (c_.out == DType::bf16 ? std::abs(sum) / 256 : 0.0));
      }
    }
  }

  Gemm gemm;

 private:
  Tensor make(DType dtype, std::initializer_list<int64_t> dims, uint64_t key, double mean = 0.0) {
    int64_t n = 1;
    for (int64_t dim : dims) n *= dim;
    std::vector<float> values = test::random_floats(n, key, 1.0, mean);
    std::vector<Bf16> narrow;
    for (float value : values) narrow.emplace_back(value);
    memory_.push_back(device_.allocate(static_cast<size_t>(n * size_of(dtype))));
    Tensor t(memory_.back().data(), dtype, dims);
    if (dtype == DType::f32)
      device_.upload(t, values.data());
    else
      device_.upload(t, narrow.data());
    return t;
  }

  Case c_;
  Device& device_;
  std::vector<Buffer> memory_;
  std::vector<double> add_;
};

TEST(Gemm, AgreesWithDouble) {
  Device device("cuda", 2);
  constexpr DType kDtypes[][2] = {
      {DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}};
  constexpr int64_t kShapes[][3] = {{1, 8, 8}, {7, 24, 16}, {40, 8, 264}, {67, 72, 130}};
  for (const auto& dtypes : kDtypes) {
    for (const auto& shape : kShapes) {
      for (int bits = 0; bits < 32; ++bits) {
        const bool with_add = bits & 1, in_place = bits & 2;
        if (in_place && !with_add) continue;
        const Case c{shape[0],       shape[1],       shape[2], dtypes[0], dtypes[1],
                     (bits & 4) > 0, (bits & 8) > 0, with_add, in_place,  (bits & 16) > 0};
        Operands o(c, device);
        SCOPED_TRACE(o.gemm.text());
        std::vector<double> d, tolerances;
        o.expected(d, tolerances);
        o.gemm.run(device.cuda());
        const auto found = o.values_of(o.gemm.d);
        EXPECT_TRUE(test::all_near(std::vector<float>(found.begin(), found.end()), d, tolerances));
      }
    }
  }
}

TEST(Gemm, RefusesBadOperands) {
  Device device("cuda", 2);
  Operands o({3, 5, 4, DType::f32, DType::f32, true, false, true, false, true}, device);
  EXPECT_EQ(o.gemm.text(), "(3, 5) f32 = (4, 3)^T (4, 5) + add + bias");
  Gemm bad = o.gemm;
  bad.transpose_a = false;
  EXPECT_EQ(test::error_of([&] { bad.check(); }), "Gemm: b is f32 (4, 5), expected f32 (3, 5)");
  bad = o.gemm;
  bad.bias = o.gemm.add;
  EXPECT_EQ(test::error_of([&] { bad.check(); }), "Gemm: bias is f32 (3, 5), expected f32 (5)");
  bad = o.gemm;
  bad.d = Tensor(o.gemm.a.data(), DType::f32, {3, 5});
  EXPECT_EQ(test::error_of([&] { bad.check(); }), "Gemm: d overlaps a, expected memory of its own");
  bad = o.gemm;
  bad.d = Tensor(o.gemm.d.data(), DType::bf16, {3, 5});
  EXPECT_EQ(test::error_of([&] { bad.check(); }), "Gemm: d is bf16 (3, 5), expected f32 (3, 5)");
}

}  // namespace
}  // namespace midfill
