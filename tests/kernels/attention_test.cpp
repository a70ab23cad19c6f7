#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "tests/kernels/attention_operands.h"
#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::all_near;
using test::error_of;
using test::poisoned;
using test::random_floats;
using test::same_bits;
using test::to_double;

using Shape = test::AttentionShape;

// The definition, in double: every score of a row, then one softmax.
struct Reference {
  Shape s;
  std::vector<double> out, lse;

  Reference(const Shape& shape, const std::vector<double>& qkv)
      : s(shape), out(shape.rows()), lse(shape.B * shape.NH * shape.T) {
    const auto row = [&](int64_t b, int64_t t, int64_t h, int64_t part) {
      const double* x = qkv.data() + (((b * s.T + t) * s.NH + h) * 3 + part) * s.HS;
      std::vector<double> turned(x, x + s.HS);
      for (int64_t i = 0; part < 2 && i < s.R / 2; ++i) {
        const double angle = t * std::pow(10000.0, -2.0 * i / s.R);
        turned[i] = x[i] * std::cos(angle) - x[i + s.R / 2] * std::sin(angle);
        turned[i + s.R / 2] = x[i + s.R / 2] * std::cos(angle) + x[i] * std::sin(angle);
      }
      return turned;
    };
    for (int64_t b = 0; b < s.B; ++b)
      for (int64_t h = 0; h < s.NH; ++h) {
        std::vector<std::vector<double>> q, k, v;
        for (int64_t t = 0; t < s.T; ++t)
          q.push_back(row(b, t, h, 0)), k.push_back(row(b, t, h, 1)), v.push_back(row(b, t, h, 2));
        for (int64_t t = 0; t < s.T; ++t) {
          std::vector<double> scores(t + 1, 0.0);
          for (int64_t j = 0; j <= t; ++j) {
            for (int64_t d = 0; d < s.HS; ++d) scores[j] += q[t][d] * k[j][d];
            scores[j] /= std::sqrt(static_cast<double>(s.HS));
          }
          const double top = *std::max_element(scores.begin(), scores.end());
          double total = 0.0;
          for (double score : scores) total += std::exp(score - top);
          lse[(b * s.NH + h) * s.T + t] = top + std::log(total);
          for (int64_t j = 0; j <= t; ++j)
            for (int64_t d = 0; d < s.HS; ++d)
              out[((b * s.T + t) * s.NH + h) * s.HS + d] +=
                  std::exp(scores[j] - top) / total * v[j][d];
        }
      }
  }
};

double largest(const std::vector<double>& values) {
  double top = 0.0;
  for (double x : values) top = std::max(top, std::abs(x));
  return top;
}

// The ops on `threads` threads, with memory of their own.
struct Attention : test::AttentionOperands {
  test::OpDevice device;

  explicit Attention(const Shape& shape, int threads = 2, double scale = 1.0)
      : AttentionOperands(shape, scale), device(threads) {
    if (s.R > 0) device.run(RotaryTables{.cos = rotary().cos, .sin = rotary().sin});
  }
};

// Heads that fill a vector, fall short of one and stretch over several; no, partial and full
// rotation; one row, rows around the edge of a tile (64, and 32 on cuda); fewer heads than threads
// (split) and more.
const Shape kShapes[] = {{1, 1, 1, 1, 0},    {1, 1, 1, 8, 8},       {2, 7, 3, 8, 2},
                         {1, 63, 2, 20, 20}, {1, 64, 2, 64, 16},    {1, 65, 1, 64, 64},
                         {3, 66, 1, 80, 20}, {1, 129, 1, 128, 128}, {1, 200, 1, 32, 0},
                         {2, 66, 5, 16, 8},  {1, 257, 1, 64, 16},   {1, 1, 2, 128, 32},
                         {2, 17, 1, 128, 8}, {1, 17, 3, 96, 24},    {1, 130, 1, 96, 96},
                         {2, 33, 2, 32, 8},  {1, 130, 3, 32, 32}};

class AttentionShapes : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (test::on_cuda() && GetParam().HS % 8 != 0)
      GTEST_SKIP() << "cuda has head sizes that are multiples of 8";
  }
};
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionShapes, testing::ValuesIn(kShapes),
                         testing::PrintToStringParamName());

TEST_P(AttentionShapes, ForwardIsTheDefinition) {
  Attention a(GetParam());
  a.device.run(a.forward_op());
  const Reference expected(a.s, to_double(a.qkv));
  EXPECT_TRUE(all_near(a.out, expected.out, {.absolute = 5e-6 * largest(to_double(a.qkv))}));
  EXPECT_TRUE(all_near(a.lse, expected.lse, {.absolute = 5e-6, .relative = 5e-6}));
}

TEST_P(AttentionShapes, LargeScoresStayFinite) {
  // Scores of several hundred: e^score overflows f32, differences span thousands.
  Attention a(GetParam(), 2, 30.0);
  a.device.run(a.forward_op());
  const Reference expected(a.s, to_double(a.qkv));
  // Scores are rounded relative to their size, which a softmax turns into absolute error.
  const double rounding = 4e-7 * largest(expected.lse);
  EXPECT_TRUE(
      all_near(a.out, expected.out, {.absolute = (5e-6 + rounding) * largest(to_double(a.qkv))}));
  EXPECT_TRUE(all_near(a.lse, expected.lse, {.absolute = 5e-6 + rounding, .relative = 5e-6}));
}

TEST_P(AttentionShapes, BackwardIsTheGradient) {
  Attention a(GetParam());
  a.device.run(a.forward_op());
  a.device.run(a.backward_op());
  const std::vector<double> x = to_double(a.qkv);
  const auto value = [&](std::span<const double> at) {
    const Reference r(a.s, {at.begin(), at.end()});
    double dot = 0.0;
    for (size_t i = 0; i < r.out.size(); ++i) dot += a.dout[i] * r.out[i];
    return dot;
  };
  const double tolerance = 2e-5 * largest(to_double(a.dqkv));
  ASSERT_TRUE(std::isfinite(tolerance));
  // All elements of small shapes, a spread of the others.
  const size_t step = std::max<size_t>(1, x.size() / (a.s.T > 8 ? 24 : 400)) | 1;
  for (size_t i = 0; i < x.size(); i += step) {
    const double expected = test::finite_difference(value, x, i);
    EXPECT_TRUE(std::abs(a.dqkv[i] - expected) <= tolerance)
        << "element " << i << ": " << a.dqkv[i] << ", expected " << expected << " +- " << tolerance;
  }
}

// The closed form in double, which is quick enough for every element; it leaves the rotation out.
TEST_P(AttentionShapes, BackwardAgreesEverywhere) {
  Shape unturned = GetParam();
  unturned.R = 0;
  Attention a(unturned);
  a.device.run(a.forward_op());
  a.device.run(a.backward_op());
  const Shape& s = a.s;
  const auto at = [&](int64_t b, int64_t t, int64_t h, int64_t part) {
    return (((b * s.T + t) * s.NH + h) * 3 + part) * s.HS;
  };
  const std::vector<double> x = to_double(a.qkv);
  std::vector<double> expected(x.size());
  const Reference forward(s, x);
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.HS));
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t h = 0; h < s.NH; ++h)
      for (int64_t t = 0; t < s.T; ++t) {
        const int64_t row = ((b * s.T + t) * s.NH + h) * s.HS;
        double dot = 0.0;
        for (int64_t d = 0; d < s.HS; ++d) dot += a.dout[row + d] * forward.out[row + d];
        for (int64_t j = 0; j <= t; ++j) {
          const int64_t q = at(b, t, h, 0), k = at(b, j, h, 1), v = at(b, j, h, 2);
          double score = 0.0, dp = 0.0;
          for (int64_t d = 0; d < s.HS; ++d) {
            score += scale * x[q + d] * x[k + d];
            dp += a.dout[row + d] * x[v + d];
          }
          const double p = std::exp(score - forward.lse[(b * s.NH + h) * s.T + t]);
          for (int64_t d = 0; d < s.HS; ++d) {
            expected[q + d] += scale * p * (dp - dot) * x[k + d];
            expected[k + d] += scale * p * (dp - dot) * x[q + d];
            expected[v + d] += p * a.dout[row + d];
          }
        }
      }
  EXPECT_TRUE(all_near(a.dqkv, expected, {.absolute = 2e-5 * largest(expected)}));
}

TEST_P(AttentionShapes, BiasGradientIsTheSumOfRows) {
  if (test::on_cuda() && GetParam().HS % 8 != 0)
    GTEST_SKIP() << "cuda has head sizes that are multiples of 8";
  Attention a(GetParam());
  a.device.run(a.forward_op());
  const size_t columns = a.s.NH * 3 * a.s.HS;
  std::vector<float> dbias = random_floats(static_cast<int64_t>(columns), 3);
  std::vector<double> expected = to_double(dbias);
  AttentionBackward op = a.backward_op();
  op.dbias = Tensor::of(dbias.data(), {static_cast<int64_t>(columns)});
  a.device.run(op);
  for (size_t i = 0; i < a.dqkv.size(); ++i) expected[i % columns] += a.dqkv[i];
  EXPECT_TRUE(all_near(dbias, expected,
                       {.absolute = 1e-6 * largest(to_double(a.dqkv)) * a.s.T, .relative = 1e-6}));
}

TEST_P(AttentionShapes, RepeatsBitForBit) {
  const auto run = [](Attention& a) {
    a.device.run(a.forward_op());
    a.device.run(a.backward_op());
  };
  std::optional<Attention> first;  // of this thread count; on cuda, of the first way
  test::for_each_way([&](int threads) {
    if (!first || !test::on_cuda()) {
      run(first.emplace(GetParam(), threads));
      if (test::on_cuda()) return;
    }
    Attention again(GetParam(), threads);
    run(again);
    EXPECT_TRUE(same_bits(first->out, again.out));
    EXPECT_TRUE(same_bits(first->lse, again.lse));
    EXPECT_TRUE(same_bits(first->dqkv, again.dqkv));
  });
}

TEST_P(AttentionShapes, ThreadsChangeOnlyTheOrderOfSums) {
  if (test::on_cuda()) GTEST_SKIP() << "the threads are those of the host";
  Attention one(GetParam(), 1), three(GetParam(), 3);
  for (Attention* a : {&one, &three}) {
    a->device.run(a->forward_op());
    a->device.run(a->backward_op());
  }
  EXPECT_TRUE(same_bits(one.out, three.out));
  const std::vector<double> expected = to_double(one.dqkv);
  EXPECT_TRUE(all_near(three.dqkv, expected, {.absolute = 2e-6 * largest(expected)}));
}

// A prompt in two pieces, then one token at a time, gives what the whole sequence gives.
TEST_P(AttentionShapes, DecodeIsForward) {
  Attention a(GetParam());
  a.device.run(a.forward_op());
  const Shape& s = a.s;
  const int64_t Tmax = s.T + 5;
  auto keys = poisoned(s.B * s.NH * Tmax * s.HS), values = keys;
  const auto cache = [&](std::vector<float>& v) {
    return Tensor::of(v.data(), {s.B, s.NH, Tmax, s.HS});
  };
  std::vector<int64_t> lengths;
  if (s.T > 12) lengths = {s.T / 2, s.T - s.T / 2 - 5};
  for (int64_t done = s.T > 12 ? s.T - 5 : 0; done < s.T; ++done) lengths.push_back(1);

  int64_t start = 0;
  auto found = poisoned(s.rows());
  for (int64_t T : lengths) {
    const int64_t row = s.NH * s.HS;
    std::vector<float> qkv(s.B * T * 3 * row);
    auto out = poisoned(s.B * T * row);
    for (int64_t b = 0; b < s.B; ++b)
      std::copy_n(a.qkv.data() + (b * s.T + start) * 3 * row, T * 3 * row,
                  qkv.data() + b * T * 3 * row);
    a.device.run(AttentionDecode{.out = Tensor::of(out.data(), {s.B, T, s.NH, s.HS}),
                                 .k_cache = cache(keys),
                                 .v_cache = cache(values),
                                 .qkv = Tensor::of(qkv.data(), {s.B, T, s.NH, 3, s.HS}),
                                 .position = a.rotary(),
                                 .start = start});
    for (int64_t b = 0; b < s.B; ++b)
      std::copy_n(out.data() + b * T * row, T * row, found.data() + (b * s.T + start) * row);
    start += T;
  }
  ASSERT_EQ(start, s.T);
  EXPECT_TRUE(all_near(found, to_double(a.out), {.absolute = 1e-5 * largest(to_double(a.qkv))}));
  for (int64_t head = 0; head < s.B * s.NH; ++head)  // rows after the last position are untouched
    for (int64_t i = s.T * s.HS; i < Tmax * s.HS; ++i)
      EXPECT_TRUE(std::isnan(keys[head * Tmax * s.HS + i]) &&
                  std::isnan(values[head * Tmax * s.HS + i]));
}

// T new positions after `start` cached ones, random, with room behind them that holds NaN.
struct Decoding {
  int64_t B, NH, HS, R, start, T, Tmax = start + T + 3;
  std::vector<float> cos, sin;
  std::vector<float> keys = random_floats(B * NH * Tmax * HS, 3);
  std::vector<float> values = random_floats(B * NH * Tmax * HS, 4);
  std::vector<float> qkv = random_floats(B * T * NH * 3 * HS, 5);
  std::vector<float> out = poisoned(B * T * NH * HS);

  Decoding(int64_t b, int64_t nh, int64_t hs, int64_t r, int64_t from, int64_t n)
      : B(b), NH(nh), HS(hs), R(r), start(from), T(n), cos(Tmax * R / 2), sin(cos.size()) {
    Device("cpu", 1).run(RotaryTables{.cos = table(cos), .sin = table(sin)});
    for (int64_t head = 0; head < B * NH; ++head)
      for (int64_t i = start * HS; i < Tmax * HS; ++i)
        keys[head * Tmax * HS + i] = values[head * Tmax * HS + i] = std::nanf("");
  }

  Tensor table(const std::vector<float>& v) const { return Tensor::of(v.data(), {Tmax, R / 2}); }
  AttentionDecode op() const {
    const auto cache = [&](const std::vector<float>& v) {
      return Tensor::of(v.data(), {B, NH, Tmax, HS});
    };
    return {.out = Tensor::of(out.data(), {B, T, NH, HS}),
            .k_cache = cache(keys),
            .v_cache = cache(values),
            .qkv = Tensor::of(qkv.data(), {B, T, NH, 3, HS}),
            .position = {table(cos), table(sin)},
            .start = start};
  }

  // q or k (part 0, 1) of a new position, turned.
  std::vector<double> turned(int64_t b, int64_t t, int64_t h, int64_t part) const {
    const float* x = qkv.data() + (((b * T + t) * NH + h) * 3 + part) * HS;
    std::vector<double> y(x, x + HS);
    for (int64_t i = 0; i < R / 2; ++i) {
      const double angle = static_cast<double>(start + t) * std::pow(10000.0, -2.0 * i / R);
      y[i] = x[i] * std::cos(angle) - x[i + R / 2] * std::sin(angle);
      y[i + R / 2] = x[i + R / 2] * std::cos(angle) + x[i] * std::sin(angle);
    }
    return y;
  }

  // The definition, in double, over the caches as the op left them.
  std::vector<double> expected() const {
    std::vector<double> y(out.size());
    for (int64_t b = 0; b < B; ++b)
      for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < NH; ++h) {
          const std::vector<double> q = turned(b, t, h, 0);
          const int64_t first = (b * NH + h) * Tmax * HS;
          std::vector<double> weights(start + t + 1, 0.0);
          double total = 0.0;
          for (size_t j = 0; j < weights.size(); ++j) {
            for (int64_t d = 0; d < HS; ++d) weights[j] += q[d] * keys[first + j * HS + d];
            weights[j] = std::exp(weights[j] / std::sqrt(static_cast<double>(HS)));
            total += weights[j];
          }
          for (size_t j = 0; j < weights.size(); ++j)
            for (int64_t d = 0; d < HS; ++d)
              y[((b * T + t) * NH + h) * HS + d] += weights[j] / total * values[first + j * HS + d];
        }
    return y;
  }
};

// Lengths around the 128 keys that a block of cuda takes; pieces that begin and end inside tiles.
const auto kDecodings = [] {
  std::vector<Decoding> all;
  for (int64_t start : {0, 1, 127, 128, 129, 383, 500}) all.emplace_back(1, 3, 64, 16, start, 1);
  for (int64_t HS : {8, 32, 96, 128}) all.emplace_back(2, 2, HS, HS / 4 * 2, 150, 1);
  for (int64_t start : {0, 1, 31, 64, 100}) all.emplace_back(1, 2, 32, 8, start, 37);
  for (int64_t HS : {8, 64, 96, 128}) all.emplace_back(2, 1, HS, HS, 45, 70);
  return all;
};

TEST(Attention, DecodeIsTheDefinition) {
  for (Decoding& d : kDecodings()) {
    SCOPED_TRACE(fmt::format("HS {}, {} after {}", d.HS, d.T, d.start));
    const std::vector<float> old_keys = d.keys;
    test::OpDevice(2).run(d.op());
    for (int64_t b = 0; b < d.B; ++b)
      for (int64_t h = 0; h < d.NH; ++h) {
        const int64_t first = (b * d.NH + h) * d.Tmax * d.HS, begin = first + d.start * d.HS;
        const std::span<const float> keys(d.keys), values(d.values), before(old_keys);
        EXPECT_TRUE(
            same_bits(keys.subspan(first, d.start * d.HS), before.subspan(first, d.start * d.HS)));
        for (int64_t t = 0; t < d.T; ++t) {
          EXPECT_TRUE(all_near(keys.subspan(begin + t * d.HS, d.HS), d.turned(b, t, h, 1),
                               {.absolute = 1e-6, .relative = 1e-6}));
          EXPECT_TRUE(same_bits(values.subspan(begin + t * d.HS, d.HS),
                                std::span<const float>(d.qkv).subspan(
                                    (((b * d.T + t) * d.NH + h) * 3 + 2) * d.HS, d.HS)));
        }
        for (int64_t i = d.T * d.HS; i < (d.Tmax - d.start) * d.HS; ++i)
          EXPECT_TRUE(std::isnan(keys[begin + i]) && std::isnan(values[begin + i]));
      }
    EXPECT_TRUE(all_near(d.out, d.expected(), {.absolute = 5e-6 * largest(to_double(d.qkv))}));
  }
}

TEST(Attention, DecodeRepeatsBitForBit) {
  for (const Decoding& d : kDecodings()) {
    std::optional<std::vector<float>> first;
    test::for_each_way([&](int threads) {
      Decoding again = d;
      test::OpDevice(threads).run(again.op());
      if (!first) first = again.out;
      EXPECT_TRUE(same_bits(*first, again.out)) << "HS " << d.HS << ", start " << d.start;
    });
  }
}

TEST(Attention, DecodeBf16) {
  for (Decoding& d : kDecodings()) {
    // A comparison wants numbers everywhere: the room behind the new positions goes.
    for (auto* cache : {&d.keys, &d.values})
      for (float& x : *cache) x = std::isnan(x) ? 0.5f : x;
    EXPECT_TRUE(test::bf16_error_is_rounding(
        d.op(),
        {&AttentionDecode::out, &AttentionDecode::k_cache, &AttentionDecode::v_cache,
         &AttentionDecode::qkv},
        {&AttentionDecode::out, &AttentionDecode::k_cache, &AttentionDecode::v_cache}))
        << "HS " << d.HS << ", " << d.T << " after " << d.start;
  }
}

TEST(Attention, DecodePassesNotANumberOn) {
  for (int64_t T : {1, 40})
    for (bool in_values : {false, true}) {
      Decoding d(1, 2, 32, 8, 200, T);
      // A cached position of head 1.
      (in_values ? d.values : d.keys)[(d.Tmax + 130) * 32 + 3] = std::nanf("");
      test::OpDevice(2).run(d.op());
      for (int64_t t = 0; t < T; ++t) {
        EXPECT_FALSE(std::isnan(d.out[(t * 2 + 0) * 32 + 3])) << T << in_values;
        EXPECT_TRUE(std::isnan(d.out[(t * 2 + 1) * 32 + 3])) << T << in_values;
      }
    }
}

TEST(Attention, HeadSizesThatCudaLacksAreRefused) {
  if (!test::on_cuda()) GTEST_SKIP() << "the CPU has all head sizes";
  Attention odd({1, 4, 2, 20, 0}), wide({1, 4, 1, 136, 0});
  EXPECT_EQ(error_of([&] { odd.device.run(odd.forward_op()); }),
            "AttentionForward on cuda: head size 20, expected a multiple of 8, at most 128");
  EXPECT_EQ(error_of([&] { wide.device.run(wide.backward_op()); }),
            "AttentionBackward on cuda: head size 136, expected a multiple of 8, at most 128");
  Decoding step(1, 1, 20, 4, 3, 1);
  EXPECT_EQ(error_of([&] { test::OpDevice(1).run(step.op()); }),
            "AttentionDecode on cuda: head size 20, expected a multiple of 8, at most 128");
}

TEST(Attention, NotANumberReachesWhatDependsOnIt) {
  for (int part : {0, 1, 2}) {
    Attention a({1, 70, 2, 16, 16});
    const int64_t t = 66;
    a.qkv[((t * 2 + 1) * 3 + part) * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
    a.device.run(a.forward_op());
    a.device.run(a.backward_op());
    const auto out = [&](int64_t at, int64_t head) { return a.out[(at * 2 + head) * 16 + 3]; };
    EXPECT_TRUE(std::isnan(out(t, 1))) << part;
    EXPECT_EQ(std::isnan(out(69, 1)), part != 0) << part;
    EXPECT_FALSE(std::isnan(out(t, 0))) << part;
    EXPECT_FALSE(std::isnan(out(10, 1))) << part;
    bool reached = false;
    for (float g : a.dqkv) reached |= std::isnan(g);
    EXPECT_TRUE(reached) << part;
  }
}

TEST(Attention, RotaryTablesAreRoundedFromDouble) {
  Attention a({1, 3000, 1, 8, 6});
  for (int64_t t : {0, 1, 2999})
    for (int64_t i = 0; i < 3; ++i) {
      const double angle = t * std::pow(10000.0, -2.0 * i / 6);
      EXPECT_EQ(a.cos[t * 3 + i], static_cast<float>(std::cos(angle)));
      EXPECT_EQ(a.sin[t * 3 + i], static_cast<float>(std::sin(angle)));
    }
}

TEST(Attention, OperandsThatDoNotFitAreRefused) {
  Attention a({1, 4, 2, 8, 4});
  auto forward = a.forward_op();
  forward.lse = Tensor::of(a.lse.data(), {1, 4, 2});
  EXPECT_EQ(error_of([&] { a.device.run(forward); }),
            "AttentionForward: lse is f32 (1, 4, 2), expected f32 (1, 2, 4)");
  forward = a.forward_op();
  forward.qkv = Tensor::of(a.qkv.data(), {1, 4, 3, 2, 8});
  EXPECT_EQ(error_of([&] { a.device.run(forward); }),
            "AttentionForward: qkv is f32 (1, 4, 3, 2, 8), expected f32 or bf16 (B, T, NH, 3, HS)");
  const std::vector<Bf16> narrow(a.qkv.size());
  forward = a.forward_op();
  forward.qkv = Tensor::of(narrow.data(), {1, 4, 2, 3, 8});
  EXPECT_EQ(error_of([&] { a.device.run(forward); }),
            "AttentionForward: out is f32 (1, 4, 2, 8), expected bf16 (1, 4, 2, 8)");
  forward.out = Tensor::of(narrow.data(), {1, 4, 2, 8});
  forward.lse = Tensor::of(narrow.data(), {1, 2, 4});
  EXPECT_EQ(error_of([&] { a.device.run(forward); }),
            "AttentionForward: lse is bf16 (1, 2, 4), expected f32 (1, 2, 4)");
  forward = a.forward_op();
  forward.position.cos = Tensor::of(a.cos.data(), {2, 2});
  forward.position.sin = Tensor::of(a.sin.data(), {2, 2});
  EXPECT_EQ(
      error_of([&] { a.device.run(forward); }),
      "AttentionForward: rotary tables are (2, 2), expected at least 4 positions of at most 4");
  forward = a.forward_op();
  forward.out = Tensor::of(a.qkv.data(), {1, 4, 2, 8});
  EXPECT_EQ(error_of([&] { a.device.run(forward); }), "AttentionForward: out overlaps qkv");
  auto backward = a.backward_op();
  backward.dqkv = backward.qkv;
  EXPECT_EQ(error_of([&] { a.device.run(backward); }),
            "AttentionBackward: dqkv overlaps qkv, out or dout");
  std::vector<float> keys(2 * 6 * 8), values(keys.size());
  EXPECT_EQ(error_of([&] {
              a.device.run(AttentionDecode{.out = a.rows(a.out),
                                           .k_cache = Tensor::of(keys.data(), {1, 2, 6, 8}),
                                           .v_cache = Tensor::of(values.data(), {1, 2, 6, 8}),
                                           .qkv = a.packed(a.qkv),
                                           .position = {},
                                           .start = 3});
            }),
            "AttentionDecode: positions 3 to 7 do not fit a cache of 6");
}

}  // namespace
}  // namespace midfill
